#pragma once
// CheckpointWriter: saves checkpoints while training goes on. Training waits for a copy in host memory only; a
// thread writes it to disk.

#include <future>
#include <optional>
#include <string>

#include "taper/nn/checkpoint/checkpoint_folder.h"

namespace taper {

/// A checkpoint that was written, or could not be.
struct WrittenCheckpoint {
  int64_t step = 0;
  bool best = false;
  std::string path = {};   ///< empty if it was not written
  std::string error = {};  ///< why it was not written
  double seconds = 0;      ///< that the thread worked
};

class CheckpointWriter {
 public:
  /// keep: as for CheckpointFolder::save().
  CheckpointWriter(const std::string& folder, int64_t keep) : folder_(folder), keep_(keep) {}
  /// Waits for the thread.
  ~CheckpointWriter();

  const CheckpointFolder& folder() const { return folder_; }
  /// Returns whether a checkpoint is being written.
  bool is_busy() const;
  /// Starts to write a checkpoint whose tensors are on the CPU and belong to nobody else. Throws Error while one
  /// is being written, or has not been taken.
  void start(Checkpoint checkpoint, int64_t step, bool best);
  /// Returns what became of the checkpoint that was started, once; nothing if there is none. wait: until it is
  /// written; else returns nothing while it is being written.
  std::optional<WrittenCheckpoint> take(bool wait);

 private:
  WrittenCheckpoint write(const Checkpoint& checkpoint, int64_t step, bool best);

  CheckpointFolder folder_;
  int64_t keep_;
  std::future<WrittenCheckpoint> pending_;
};

}  // namespace taper
