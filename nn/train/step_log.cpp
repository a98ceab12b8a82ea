#include "taper/nn/train/step_log.h"

#include <algorithm>
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

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

/// Throws FileError if the step had another loss.
void check_same_run(const std::string& path, const LoggedStep& logged, const StepLogOptions& options) {
  const auto known = options.losses.find(logged.step);
  if (known == options.losses.end()) return;
  const bool is_same = logged.loss ? *logged.loss == known->second : !std::isfinite(known->second);
  if (!is_same)
    fail<FileError>("{}: another run's log: its loss in step {} is {}, and not {}; name another file", path,
                    logged.step, logged.loss ? fmt::format("{}", *logged.loss) : "none", known->second);
}

/// Returns the length of the lines to keep. What is cut off are later steps, and a last line that is not whole.
size_t length_to_keep(const std::string& path, std::string_view log, const StepLogOptions& options,
                      int64_t& last_kept) {
  size_t kept = 0, number = 0;
  int64_t before = 0;
  for (size_t begin = 0, end = 0; begin < log.size(); begin = end + 1) {
    ++number;
    end = std::min(log.find('\n', begin), log.size());
    const std::string_view line = log.substr(begin, end - begin);
    const bool is_whole = end < log.size();
    if (is_blank(line) || (!is_whole && line.front() == '{')) continue;
    const std::optional<LoggedStep> logged = logged_step(line);
    if (!logged) fail<FileError>("{}: line {} is of no log of steps; name another file", path, number);
    if (logged->step <= before)
      fail<FileError>("{}: line {} has step {}, after step {}; name another file", path, number, logged->step,
                      before);
    before = logged->step;
    if (logged->step > options.keep_steps) continue;
    check_same_run(path, *logged, options);
    last_kept = logged->step;
    kept = end + 1;
  }
  if (before > last_kept && last_kept < options.keep_steps)
    fail<FileError>("{}: another run's log: it has step {}, and not {}; name another file", path, before,
                    options.keep_steps);
  return kept;
}

AppendFile open_log(const std::string& path, const StepLogOptions& options, int64_t& last_kept) {
  if (options.keep_steps == 0) return AppendFile(path);
  return AppendFile(path,
                    [&](std::string_view log) { return length_to_keep(path, log, options, last_kept); });
}

}  // namespace

StepLog::StepLog(const std::string& path, const StepLogOptions& options)
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
