#pragma once
// StepProfile: a profile of a few steps out of a long run. The first steps fill caches and choose algorithms,
// and a trace of a whole run is too large to look at. PyTorch's counterpart: torch.profiler.schedule.

#include <optional>
#include <string>

#include "taper/core/profiler.h"
#include "taper/nn/train/sink.h"
#include "taper/ops/algorithms/algorithm_statistics.h"

namespace taper {

class StepProfile : public TrainSink {
 public:
  static constexpr int64_t kSkip = 3, kRecord = 5;

  /// Records kRecord steps after the first kSkip of a run of `total_steps`; of a shorter run the last
  /// kRecord, or all. Throws FileError if `path` cannot be written.
  StepProfile(std::string path, int64_t total_steps);

  void on_step_begin(int64_t step) override;
  /// Writes the file after the last step to record. Throws FileError.
  void on_step_enqueued(int64_t step) override;
  /// Writes the file if the run ended before its time, as after an interruption. Throws FileError.
  void on_run_end(const Outcome& outcome) override;

  /// Returns "profile of steps 4 to 8 in trace.json; open it at ..." once the file is written, else why there
  /// is none.
  const std::string& result() const { return result_; }

 private:
  void write();

  std::string path_;
  int64_t first_, last_;  // steps from 1
  int64_t step_ = 0;      // the one under way
  AlgorithmStatistics algorithms_before_;
  std::optional<Profiler> profiler_;
  std::optional<OpScope> scope_;
  std::string result_ = "no profile: the run ended before the first step it was to record";
};

}  // namespace taper
