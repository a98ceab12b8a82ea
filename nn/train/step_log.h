#pragma once
// StepLog: the log of a training run. One JSON object per optimiser step, a line each (JSON Lines), flushed
// as written.

#include <map>
#include <string>

#include "taper/core/files/append_file.h"
#include "taper/nn/train/sink.h"

namespace taper {

struct StepLogOptions {
  /// Writes null for speed, memory and sensors, which differ from run to run.
  bool deterministic = false;
  /// In a resumed run, the steps that the log keeps: it goes on with the one after them. Later ones are cut off;
  /// they are made again. 0: a new log.
  int64_t keep_steps = 0;
  /// The losses of some of these steps, as far as they are known: a log that says others is another run's.
  std::map<int64_t, double> losses = {};
};

class StepLog : public TrainSink {
 public:
  /// Makes the file, or empties the one that is there but for the steps to keep. Throws FileError, with the file
  /// as it was, if it cannot be written, if another StepLog is writing it, or if steps are to be kept and it is no
  /// log or not this run's: its losses are others, its steps do not rise, or it has later steps without the last
  /// one to keep.
  explicit StepLog(const std::string& path, const StepLogOptions& options = {});

  /// Writes numbers with all their digits. Only with a GradScaler, scale and skipped are among them; only on a
  /// GPU its sensors are, null where one is not known. Throws FileError if the disk is full; the file then ends
  /// with the record before.
  void on_step_end(const StepRecord& record) override;
  /// Returns the last of the steps that were kept; 0 for none. If it is less than keep_steps, steps are missing.
  int64_t last_kept_step() const { return last_kept_step_; }

 private:
  int64_t last_kept_step_ = 0;  // before file_, whose making finds it
  AppendFile file_;
  StepLogOptions options_;
};

}  // namespace taper
