#pragma once
// Keeps other processes away from a file that several of them replace.

#include <string>

namespace taper {

/// Holds the lock of the file at `path` while it lives. The lock is on a file of its own, PATH.lock, because
/// the real one is replaced by every write; the system lets go of it when a process dies.
class FileLock {
 public:
  /// Waits for the lock. Throws FileError if there can be none.
  explicit FileLock(const std::string& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_;
};

}  // namespace taper
