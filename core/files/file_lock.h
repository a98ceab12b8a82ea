#pragma once
// Keeps other processes away from a file that several processes replace.

#include <string>

#include "taper/core/files/file_descriptor.h"

namespace taper {

/// Holds the lock of the file at `path` while it lives. The lock is on a separate file, PATH.lock, because
/// every write replaces the real one. The system releases the lock when the process dies.
class FileLock {
 public:
  /// Long enough for some hundred processes that write one after the other, but finite: a process that is
  /// stopped while it holds the lock must not stop all others.
  static constexpr double kPatienceSeconds = 5;

  /// Waits for the lock, at most for `patience_seconds`, and only until this thread handles a signal. Throws
  /// FileError if there can be no lock, or if another process still holds it after that time; the message
  /// names that process where the system tells.
  explicit FileLock(const std::string& path, double patience_seconds = kPatienceSeconds);

 private:
  FileDescriptor file_;
};

}  // namespace taper
