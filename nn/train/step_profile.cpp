#include "taper/nn/train/step_profile.h"

#include <fmt/format.h>

#include <algorithm>

#include "taper/core/files/atomic_file.h"
#include "taper/nn/report/chrome_trace.h"
#include "taper/ops/algorithms/algorithm_cache.h"

namespace taper {

StepProfile::StepProfile(std::string path, int64_t total_steps)
    : path_(std::move(path)),
      first_(1 + std::clamp<int64_t>(total_steps - kRecord, 0, kSkip)),
      last_(first_ + kRecord - 1) {
  AtomicFile::check(path_);  // before the work, not after
}

void StepProfile::on_step_begin(int64_t step) {
  step_ = step;
  if (step_ == first_ && !profiler_) {
    algorithms_before_ = algorithm_cache().statistics();
    profiler_.emplace();
  }
  if (profiler_) scope_.emplace(intern(fmt::format("step {}", step_)), SpanKind::kStep);
}

void StepProfile::on_step_enqueued(int64_t step) {
  scope_.reset();
  if (step == last_) write();
}

void StepProfile::on_run_end(const Outcome& /*outcome*/) {
  write();
}

void StepProfile::write() {
  if (!profiler_) return;
  scope_.reset();
  const Profile profile = profiler_->stop();
  profiler_.reset();
  const AlgorithmStatistics algorithms = algorithm_cache().statistics().since(algorithms_before_);
  write_chrome_trace(path_, profile, {.algorithms = algorithms});
  result_ = fmt::format(
      "profile of step{} {} in {}; drop the file on https://ui.perfetto.dev, or load it in chrome://tracing",
      step_ > first_ ? "s" : "",
      step_ > first_ ? fmt::format("{} to {}", first_, step_) : std::to_string(step_), path_);
  result_ += fmt::format("\nalgorithms: {} hits, {} misses ({} recalled, {} measured)", algorithms.hits,
                         algorithms.misses, algorithms.recalled, algorithms.benchmarked);
  if (profile.dropped > 0)
    result_ += fmt::format("\n{} events found no room in it: it shows the beginning only", profile.dropped);
  if (!profile.note.empty()) result_ += "\n" + profile.note;
}

}  // namespace taper
