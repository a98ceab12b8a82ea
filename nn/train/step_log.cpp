#include "taper/nn/train/step_log.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "taper/core/base/error.h"

namespace taper {
namespace {

/// What a line of a log says.
struct LoggedStep {
  int64_t step = 0;
  std::optional<double> loss;  ///< nothing if it was NaN or infinite
};

/// Returns nothing for any other text.
std::optional<LoggedStep> logged_step(std::string_view line) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) return std::nullopt;
  LoggedStep logged = {.step = json["step"].get<int64_t>(), .loss = {}};
  if (json.contains("loss") && json["loss"].is_number()) logged.loss = json["loss"].get<double>();
  return logged;
}

/// Throws FileError if the line of step `options.keep_steps` has another loss than that step had.
void check_same_run(const std::string& path, const LoggedStep& logged, const StepLogOptions& options) {
  if (logged.step != options.keep_steps || !options.last_loss) return;
  const bool is_same = logged.loss ? *logged.loss == *options.last_loss : !std::isfinite(*options.last_loss);
  if (!is_same)
    fail<FileError>("{}: another run's log: its loss in step {} is {}, and not {}; name another file", path,
                    logged.step, logged.loss ? fmt::format("{}", *logged.loss) : "none", *options.last_loss);
}

/// Returns the length of the lines to keep, which are whole and say which step they are of.
size_t length_to_keep(const std::string& path, std::string_view log, const StepLogOptions& options,
                      int64_t& last_kept) {
  size_t kept = 0;
  for (size_t end = log.find('\n'); end != std::string_view::npos; end = log.find('\n', kept)) {
    const std::optional<LoggedStep> logged = logged_step(log.substr(kept, end - kept));
    if (!logged && kept == 0)
      fail<FileError>("{}: is no log of steps to go on with; name another file", path);
    if (!logged || logged->step > options.keep_steps) break;
    check_same_run(path, *logged, options);
    last_kept = logged->step;
    kept = end + 1;
  }
  return kept;
}

AppendFile open_log(const std::string& path, const StepLogOptions& options, int64_t& last_kept) {
  if (options.keep_steps == 0) return AppendFile(path);
  return AppendFile(path,
                    [&](std::string_view log) { return length_to_keep(path, log, options, last_kept); });
}

}  // namespace

StepLog::StepLog(const std::string& path, StepLogOptions options)
    : file_(open_log(path, options, last_kept_step_)), options_(options) {}

void StepLog::on_step_end(const StepRecord& record) {
  nlohmann::ordered_json line;
  line["step"] = record.step;
  line["epoch"] = record.epoch;
  line["loss"] = record.loss;  // JSON has no NaN: it becomes null
  line["lr"] = record.lr;
  if (record.scale) {
    line["scale"] = *record.scale;
    line["skipped"] = record.skipped;
  }
  line["images_per_second"] = nullptr;
  line["device_memory_bytes"] = nullptr;
  if (!options_.deterministic) {
    line["images_per_second"] = record.images_per_second;
    line["device_memory_bytes"] = record.device_memory_bytes;
  }
  if (record.sensors) {
    const auto add = [&](const char* name, const auto& reading) {
      line[name] = nullptr;
      if (reading && !options_.deterministic) line[name] = *reading;
    };
    add("gpu_utilisation", record.sensors->utilisation);
    add("gpu_memory_bytes", record.sensors->memory_used_bytes);
    add("gpu_temperature_celsius", record.sensors->temperature_celsius);
    add("gpu_power_watts", record.sensors->power_watts);
  }
  file_.write(line.dump() + "\n");
}

}  // namespace taper
