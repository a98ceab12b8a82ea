#pragma once
// Console: what a training run shows to whoever waits for it. A live line while it works, and a line that
// stays for each epoch.

#include "taper/nn/report/progress.h"
#include "taper/nn/train/sink.h"
#include "taper/nn/train/train_loop.h"

namespace taper {

/// Draws the live line on standard error and prints epochs on standard output. Says on standard error, at
/// once, that another sink was dropped. The first of a program's sinks, so that the live line is wiped before
/// others print.
class Console : public TrainSink {
 public:
  explicit Console(ProgressMode mode, const TrainPlan& plan = {}) : plan_(plan), progress_(mode) {}

  void on_step_end(const StepRecord& record) override;
  void on_evaluated(int64_t done, int64_t total) override;
  void on_batch_split(const BatchSplit& split) override;
  void on_epoch_end(const EpochRecord& record) override;
  /// Says at once that a checkpoint could not be saved.
  void on_checkpoint(const CheckpointRecord& record) override;
  void on_sink_dropped(const std::string& error) override;
  void on_run_end(const Outcome& outcome) override;

 private:
  TrainPlan plan_;
  ProgressLine progress_;
};

/// Returns what is known of a GPU as the live line has it, "gpu 97% 54C 310W"; empty if nothing is.
std::string format_sensors(const gpu::SensorReadings& sensors);

}  // namespace taper
