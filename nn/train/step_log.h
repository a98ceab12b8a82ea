#pragma once
// StepLog: the log of a training run. One JSON object per optimiser step, a line each (JSON Lines), flushed
// as written.

#include <string>

#include "taper/core/files/append_file.h"
#include "taper/nn/train/sink.h"

namespace taper {

struct StepLogOptions {
  /// Writes null for speed and memory, which differ from run to run.
  bool deterministic = false;
};

class StepLog : public TrainSink {
 public:
  /// Makes the file, or empties the one that is there. Throws FileError if the file cannot be written or
  /// another StepLog is writing it; the file is then left as it was.
  explicit StepLog(const std::string& path, StepLogOptions options = {}) : file_(path), options_(options) {}

  /// Writes numbers with all their digits. Throws FileError if the disk is full; the file then ends with the
  /// record before.
  void on_step_end(const StepRecord& record) override;

 private:
  AppendFile file_;
  StepLogOptions options_;
};

}  // namespace taper
