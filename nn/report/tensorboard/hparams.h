#pragma once
// TensorBoard's table of runs: the options that each was made with, beside its final scores. The messages:
// tensorboard/plugins/hparams/api.proto and plugin_data.proto.

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "taper/nn/report/tensorboard/event_summary.h"

namespace taper {

/// Options by name, in the order in which they are shown.
using NamedSettings = std::vector<std::pair<std::string, std::variant<bool, double, std::string>>>;

/// What the table says of how a run ended.
enum class SessionStatus { kUnknown = 0, kSuccess = 1, kFailure = 2 };

/// Adds a run's options, and the tags of the scalars whose last values are its scores.
void add_session_start(EventSummary& summary, const NamedSettings& settings,
                       const std::vector<std::string>& score_tags);

void add_session_end(EventSummary& summary, SessionStatus status);

}  // namespace taper
