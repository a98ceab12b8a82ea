#pragma once
// Keeps other processes away from a file that several of them replace.

#include <string>

#include "taper/core/files/file_descriptor.h"

namespace taper {

/// Holds the lock of the file at `path` while it lives. The lock is on a file of its own, PATH.lock, because
/// the real one is replaced by every write; the system lets go of it when a process dies.
class FileLock {
 public:
  /// Long enough for some hundred processes that write one after the other; a process that is stopped while
  /// it holds the lock must not stop all others.
  static constexpr double kPatienceSeconds = 5;

  /// Waits for the lock, at most for `patience_seconds`, and no longer than until this thread handles a
  /// signal. Throws FileError if there can be no lock, or if another process holds it after that time; the
  /// message names that process where the system tells.
  explicit FileLock(const std::string& path, double patience_seconds = kPatienceSeconds);

 private:
  FileDescriptor file_;
};

}  // namespace taper
