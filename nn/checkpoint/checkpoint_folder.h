#pragma once
// CheckpointFolder: the checkpoints of one run, and which of them to keep. Each is a folder of its own
// (nn/checkpoint/checkpoint.h), which appears whole; the links `last` and `best` lead to two of them. An older
// one goes only after a newer one stands.

#include <optional>
#include <string>
#include <vector>

#include "taper/core/files/file_descriptor.h"
#include "taper/nn/checkpoint/checkpoint.h"

namespace taper {

/// A checkpoint that was found, and what kept newer ones from being taken.
struct FoundCheckpoint {
  std::string path;
  Checkpoint checkpoint;
  std::vector<std::string> damaged;  ///< a line for each newer checkpoint that cannot be read
};

/// Returns what `path` leads to: a checkpoint, or the newest readable one of a folder of checkpoints. Returns
/// nothing if there is no such folder, or no checkpoint in it. Throws FileError if a checkpoint named by `path`
/// is damaged, or all of a folder's are. Changes nothing on disk.
std::optional<FoundCheckpoint> find_checkpoint(const std::string& path);

class CheckpointFolder {
 public:
  /// Makes the folder, and those around it, if there is none. Removes what a killed process left half-written,
  /// and keeps other processes out as long as it lives. Throws FileError if the folder cannot be written, or if
  /// another process saves checkpoints there.
  explicit CheckpointFolder(const std::string& path);

  const std::string& path() const { return path_; }
  /// Returns the paths of all checkpoints, the oldest first; damaged ones count as the oldest.
  std::vector<std::string> list() const;

  /// Saves a checkpoint of optimiser step `step`. Then removes all but the best one and the newest `keep`, which
  /// is at least 1; those whose files are not complete do not count. best: it is the best one so far. Returns its path. Throws FileError if it cannot be saved;
  /// the others then stand. May be called from any one thread at a time.
  std::string save(const Checkpoint& checkpoint, int64_t step, bool best, int64_t keep);

 private:
  std::string free_name(int64_t step) const;
  void point(const std::string& link, const std::string& name) const;
  void remove_old(int64_t keep) const;

  std::string path_;
  FileDescriptor lock_;
};

}  // namespace taper
