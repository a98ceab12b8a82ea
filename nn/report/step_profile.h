#pragma once
// A profile of a few steps out of a long run. The first steps fill caches and choose algorithms, and a trace
// of a whole run is too large to look at. PyTorch's counterpart: torch.profiler.schedule.

#include <cstdint>
#include <optional>
#include <string>

#include "taper/core/profiler.h"
#include "taper/ops/algorithms/algorithm_statistics.h"

namespace taper {

class StepProfile {
 public:
  static constexpr int64_t kSkip = 3, kRecord = 5;

  /// Records kRecord steps after the first kSkip of a run of `total_steps`; of a shorter run the last
  /// kRecord, or all. Throws FileError if `path` cannot be written.
  StepProfile(std::string path, int64_t total_steps);

  /// Around each step, counted from 1. The end of the last recorded step writes the file. Throws FileError.
  void begin_step(int64_t step);
  void end_step();
  /// After the last step: writes the file if the run ended before its time, as after an interruption.
  void finish();

  /// "profile of steps 4 to 8 in trace.json; open it at ..." once the file is written, else why there is
  /// none.
  const std::string& outcome() const { return outcome_; }

 private:
  std::string path_;
  int64_t first_, last_;  // steps from 1
  int64_t step_ = 0;
  AlgorithmStatistics algorithms_before_;
  std::optional<Profiler> profiler_;
  std::optional<OpScope> scope_;
  std::string outcome_ = "no profile: the run ended before the first step it was to record";
};

}  // namespace taper
