#pragma once
// AtomicFolder: a folder that appears whole or not at all. It is filled under a temporary name beside its place
// and renamed once all of it is on disk. Like AtomicFile (core/files/atomic_file.h), for files that belong
// together.

#include <string>

#include "taper/core/files/file_descriptor.h"

namespace taper {

class AtomicFolder {
 public:
  /// Makes the temporary folder in `parent`, which exists. Throws FileError if it cannot be written.
  explicit AtomicFolder(const std::string& parent);
  /// Removes the temporary folder unless commit() has run.
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  /// Returns the path of the temporary folder, for the files to write.
  const std::string& path() const { return temporary_path_; }
  /// Flushes the folder to disk, whose files must be flushed, and renames it to `name` in its parent. Throws
  /// FileError, also if something is there under that name.
  void commit(const std::string& name);

  /// Removes a folder with all that is in it: takes its name away at once, then removes its files. A process
  /// that is killed meanwhile leaves an orphan (core/files/temporary_name.h). Throws FileError.
  static void remove(const std::string& path);

 private:
  std::string parent_, temporary_path_;  // the latter empty after commit()
  FileDescriptor fd_;                    // holds the lock that says that the writer lives
};

}  // namespace taper
