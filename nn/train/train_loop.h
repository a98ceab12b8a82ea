#pragma once
// TrainLoop: epochs of steps, with an evaluation after each epoch.

#include <functional>

#include "taper/nn/module.h"
#include "taper/nn/train/run_checkpoints.h"
#include "taper/nn/train/train_progress.h"
#include "taper/nn/train/train_step.h"
#include "taper/nn/train/training_run.h"
#include "taper/ops/collective/process_group.h"

namespace taper {

struct TrainLoopOptions {
  int64_t epochs = 1;
  int64_t max_steps = 0;   ///< ends the run earlier; 0: no limit
  int64_t accumulate = 1;  ///< batches in a step
};

/// How many steps a run takes, and of what size. Batches that do not fill an epoch's last step are left out,
/// unless an epoch has but one step.
struct TrainPlan {
  TrainPlan() = default;
  TrainPlan(const DataLoader& batches, const TrainLoopOptions& options);

  int64_t epochs = 0;
  int64_t accumulate = 1;
  int64_t steps_per_epoch = 0;
  int64_t total_steps = 0;
  int64_t images_per_step = 0;
};

struct TrainLoop {
  TrainPlan plan;
  Module& model;        ///< put into training mode at the beginning of each epoch
  DataLoader& batches;  ///< as many as `plan` was made for
  /// A TrainStep, or what stands in for one.
  std::function<EnqueuedStep(const std::vector<Batch>&)> step;
  /// Returns the model's score after an epoch, or nothing if the run was interrupted.
  std::function<std::optional<Score>()> evaluate = {};
  /// Asked after each whole epoch, before the sinks are told of it; true ends the run early.
  std::function<bool(const EpochRecord&)> enough = {};
  /// Where to begin: in a resumed run, where the former one stood.
  TrainProgress start = {};
  /// Saves what a run can go on from; null for no checkpoints.
  RunCheckpoints* checkpoints = nullptr;
  /// The ranks that make each step together, each with its part of the batches: a step's loss is the mean over them, its
  /// images are those of all, and all end after the same step. Null for one process.
  ProcessGroup* group = nullptr;

  /// Trains until the plan is fulfilled or the run is interrupted. Saves checkpoints when they are due, at the
  /// end and at an interruption, but not after an error. Tells the run's sinks of every step and
  /// epoch, and keeps steps, loss, speeds and score in its outcome. On a GPU, a step's loss is waited for
  /// once the next step is enqueued, so that the GPU always has work. Throws NotFiniteError for a loss that
  /// is NaN or infinite, of a step or of an evaluation, unless a GradScaler skipped the step's update; also
  /// for 100 skipped updates in a row, since no scale helps then. Throws what loader, step and evaluation
  /// throw.
  void train(TrainingRun& run) const;
};

}  // namespace taper
