#pragma once
// The log of a training run: one JSON object per optimiser step, a line each (JSON Lines), flushed as
// written.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

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
  /// Starts a new file. Throws FileError if it cannot be written.
  explicit StepLog(const std::string& path);
  ~StepLog();
  StepLog(const StepLog&) = delete;
  StepLog& operator=(const StepLog&) = delete;

  /// Numbers are written with all their digits. Throws FileError if the disk is full.
  void write(const StepRecord& record);

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string path_;
  std::unique_ptr<std::FILE, Closer> file_;
};

}  // namespace taper
