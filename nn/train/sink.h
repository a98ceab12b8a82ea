#pragma once
// TrainSink: who wants to hear of a training run overrides the events that it wants. Logs, the progress line,
// profiles and summaries are sinks; a program adds its own. PyTorch has no counterpart; users know the
// callbacks of Keras and Lightning.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "taper/core/gpu/device_sensors.h"
#include "taper/nn/train/outcome.h"

namespace taper {

/// An optimiser step whose loss is known.
struct StepRecord {
  int64_t step = 0;                    ///< optimiser steps done, from 1
  int64_t epoch = 0;                   ///< from 0
  double loss = 0;                     ///< mean over the step's batches
  double lr = 0;                       ///< that the step was made with, of the optimiser's first group
  std::vector<double> group_lrs = {};  ///< of all groups
  std::optional<double> scale;         ///< of the losses, with a GradScaler
  bool skipped = false;                ///< the GradScaler found gradients that were infinite or NaN
  double images_per_second = 0;
  int64_t device_memory_bytes = 0;                  ///< allocated on the device when the loss was known
  std::optional<gpu::SensorReadings> sensors = {};  ///< of the GPU, a second old at most; none on the CPU
};

/// An epoch that was trained to its end, or as far as the run goes.
struct EpochRecord {
  int64_t epoch = 0;  ///< from 0
  double loss = 0;    ///< mean over the epoch's steps, but for losses infinite or NaN; NaN if all are
  std::optional<Score> score;  ///< nothing without an evaluation
  double images_per_second = 0;
  double seconds = 0;    ///< since the run began
  bool is_whole = true;  ///< false: TrainPlan::total_steps ended it, and a longer run would go on with it
};

/// A checkpoint that was written, or could not be.
struct CheckpointRecord {
  int64_t step = 0;    ///< optimiser steps that it is of
  bool best = false;   ///< the best score so far
  std::string path;    ///< empty if it was not written
  std::string error;   ///< why it was not written; else empty
  double seconds = 0;  ///< that writing took, beside training
};

/// A batch did not fit in memory and is computed in parts from now on (batch_splitter.h).
struct BatchSplit {
  int64_t batch_size = 0;
  int64_t part_size = 0;  ///< the largest number of images computed at a time
  bool training = true;   ///< false: an evaluation
};

/// Events come from the thread that trains. A sink that throws is dropped: it hears no further event, and
/// training goes on (training_run.h).
class TrainSink {
 public:
  virtual ~TrainSink() = default;

  /// Before the batches of step `step` (from 1) are fetched.
  virtual void on_step_begin(int64_t /*step*/) {}
  /// Once all work of step `step` is enqueued.
  virtual void on_step_enqueued(int64_t /*step*/) {}
  /// Once the loss of a step has arrived: before on_step_enqueued() on the CPU, a step later on a GPU.
  virtual void on_step_end(const StepRecord& /*record*/) {}
  /// After each of the `total` batches of an evaluation; `done` counts from 1.
  virtual void on_evaluated(int64_t /*done*/, int64_t /*total*/) {}
  /// After the first step, or batch of an evaluation, whose parts fitted in memory.
  virtual void on_batch_split(const BatchSplit& /*split*/) {}
  virtual void on_epoch_end(const EpochRecord& /*record*/) {}
  /// Some steps after the checkpoint was taken, once it stands on disk or has failed.
  virtual void on_checkpoint(const CheckpointRecord& /*record*/) {}
  /// When another sink was dropped during training. `error` is what it threw.
  virtual void on_sink_dropped(const std::string& /*error*/) {}
  /// However the run ended. What this event throws is added to the outcome's errors, which later sinks see.
  virtual void on_run_end(const Outcome& /*outcome*/) {}
};

}  // namespace taper
