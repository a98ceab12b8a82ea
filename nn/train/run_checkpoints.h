#pragma once
// RunCheckpoints: when a TrainLoop saves checkpoints, and what becomes of them.

#include <chrono>
#include <string>

#include "taper/nn/checkpoint/checkpoint_writer.h"
#include "taper/nn/train/train_progress.h"
#include "taper/nn/train/training_run.h"
#include "taper/nn/train/training_state.h"
#include "taper/ops/collective/process_group.h"

namespace taper {

/// When to save besides the end of the run and a new best score. All 0: after each epoch.
struct SaveEvery {
  int64_t steps = 0;
  double minutes = 0;
};

class RunCheckpoints {
 public:
  /// `state`, without the progress, and `writer` must outlive this.
  RunCheckpoints(CheckpointWriter& writer, const TrainingState& state, const SaveEvery& every = {})
      : writer_(&writer), state_(state), every_(every) {}
  /// For a run of several ranks. Each of them makes one and calls the same functions; rank 0 decides and has a writer,
  /// which is null on the others. The ranks' weights are compared with each other and with what is saved of them
  /// (check_weights(), Checkpoint::expected): what a broken rank spoils is not kept.
  RunCheckpoints(CheckpointWriter* writer, const TrainingState& state, ProcessGroup& group,
                 const SaveEvery& every)
      : writer_(writer), state_(state), every_(every), group_(&group) {}

  /// Returns whether to save after step `step` of the run. With SaveEvery::minutes, not while the checkpoint
  /// before is still being written.
  bool is_due(int64_t step) const;
  /// Returns whether to save after an epoch.
  bool is_due_after_epoch(bool best) const { return best || (every_.steps == 0 && every_.minutes == 0); }

  /// Saves, unless a checkpoint of this progress was saved. Waits until the checkpoint before is written, and for
  /// a copy of everything in host memory. All work of the run's steps must be enqueued.
  void save(TrainingRun& run, const TrainProgress& progress, bool best = false);
  /// As save(), by this rank alone, for after an error. Saves nothing on ranks without a writer, or if the state is
  /// spread over the ranks.
  void save_alone(TrainingRun& run, const TrainProgress& progress);
  /// Tells the run's sinks what became of a checkpoint since the last call, and counts it in the outcome.
  void report(TrainingRun& run) { take(run, false); }
  /// As report(), once the last checkpoint is written. Adds an error to the outcome if checkpoints failed.
  void finish(TrainingRun& run);

 private:
  using Clock = std::chrono::steady_clock;
  /// group: the ranks whose weights are compared; null for none.
  void write(TrainingRun& run, const TrainProgress& progress, bool best, ProcessGroup* group);
  void take(TrainingRun& run, bool wait);
  /// Returns what rank 0 says.
  bool agree(bool own) const;

  CheckpointWriter* writer_;
  const TrainingState& state_;
  SaveEvery every_;
  ProcessGroup* group_ = nullptr;
  Clock::time_point last_save_ = Clock::now();
  std::map<std::string, double> saved_;  ///< the progress that was saved last
  double waited_seconds_ = 0;            ///< for the checkpoint that is being written
  std::string last_error_;
};

}  // namespace taper
