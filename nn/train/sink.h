#pragma once
// TrainSink: who wants to hear of a training run overrides the events that it wants. Logs, the progress line,
// profiles and summaries are sinks; a program adds its own. PyTorch has no counterpart; users know the
// callbacks of Keras and Lightning.

#include <cstdint>
#include <optional>
#include <string>

#include "taper/nn/train/outcome.h"

namespace taper {

/// An optimiser step whose loss is known.
struct StepRecord {
  int64_t step = 0;   ///< optimiser steps done, from 1
  int64_t epoch = 0;  ///< from 0
  double loss = 0;    ///< mean over the step's batches
  double lr = 0;      ///< that the step was made with
  double images_per_second = 0;
  int64_t device_memory_bytes = 0;  ///< allocated on the device when the loss was known
};

/// An epoch that was trained to its end.
struct EpochRecord {
  int64_t epoch = 0;           ///< from 0
  double loss = 0;             ///< mean over the epoch's steps
  std::optional<Score> score;  ///< nothing without an evaluation
  double images_per_second = 0;
  double seconds = 0;  ///< since the run began
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
  virtual void on_epoch_end(const EpochRecord& /*record*/) {}
  /// When another sink was dropped during training. `error` is what it threw.
  virtual void on_sink_dropped(const std::string& /*error*/) {}
  /// However the run ended. What this event throws is added to the outcome's errors, which later sinks see.
  virtual void on_run_end(const Outcome& /*outcome*/) {}
};

}  // namespace taper
