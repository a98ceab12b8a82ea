#pragma once
// The log of a training run: one JSON object per optimiser step, a line each (JSON Lines), flushed as
// written.

#include <cstdint>
#include <optional>
#include <string>

#include "taper/core/files/append_file.h"

namespace taper {

struct StepRecord {
  int64_t step = 0;   ///< optimiser steps done, from 1
  int64_t epoch = 0;  ///< from 0
  double loss = 0;
  double lr = 0;
  std::optional<double> images_per_second = {};  ///< null in the file if left out
  std::optional<int64_t> device_memory_bytes = {};
};

class StepLog {
 public:
  /// Makes the file, or empties the one that is there. Throws FileError if it cannot be written or another
  /// StepLog is writing it; it is then left as it was.
  explicit StepLog(const std::string& path) : file_(path) {}

  /// Numbers are written with all their digits. Throws FileError if the disk is full; the file then ends with
  /// the record before.
  void write(const StepRecord& record);

 private:
  AppendFile file_;
};

}  // namespace taper
