#include "taper/nn/report/tensorboard/hparams.h"

#include "taper/nn/report/tensorboard/event_writer.h"

namespace taper {
namespace {

// HParamsPluginData, and DataType of api.proto.
enum PluginField { kExperiment = 2, kSessionStartInfo = 3, kSessionEndInfo = 4 };
enum SettingType { kTypeString = 1, kTypeBool = 2, kTypeNumber = 3 };
using Setting = NamedSettings::value_type::second_type;

int setting_type(const Setting& setting) {
  if (std::holds_alternative<bool>(setting)) return kTypeBool;
  return std::holds_alternative<double>(setting) ? kTypeNumber : kTypeString;
}

/// Returns a google.protobuf.Value.
ProtoMessage setting_value(const Setting& setting) {
  ProtoMessage value;
  if (const bool* truth = std::get_if<bool>(&setting))
    value.integer(4, *truth ? 1 : 0);
  else if (const double* number = std::get_if<double>(&setting))
    value.number(2, *number);
  else
    value.text(3, std::get<std::string>(setting));
  return value;
}

void add_hparams(EventSummary& summary, const char* tag, PluginField field, const ProtoMessage& content) {
  summary.plugin(tag, "hparams", ProtoMessage().message(field, content));
}

}  // namespace

void add_session_start(EventSummary& summary, const NamedSettings& settings,
                       const std::vector<std::string>& score_tags) {
  const double now = wall_time();
  ProtoMessage experiment, session;
  experiment.number(3, now);
  for (const auto& [name, setting] : settings) {
    experiment.message(4, ProtoMessage().text(1, name).integer(4, setting_type(setting)));
    session.message(1, ProtoMessage().text(1, name).message(2, setting_value(setting)));
  }
  for (const std::string& tag : score_tags)
    experiment.message(5, ProtoMessage().message(1, ProtoMessage().text(2, tag)));
  session.number(5, now);
  add_hparams(summary, "_hparams_/experiment", kExperiment, experiment);
  add_hparams(summary, "_hparams_/session_start_info", kSessionStartInfo, session);
}

void add_session_end(EventSummary& summary, SessionStatus status) {
  add_hparams(summary, "_hparams_/session_end_info", kSessionEndInfo,
              ProtoMessage().integer(1, int64_t(status)).number(2, wall_time()));
}

}  // namespace taper
