#pragma once
// A file that one process writes piece by piece, such as a log, while others may read it.

#include <cstdint>
#include <string>
#include <string_view>

#include "taper/core/files/file_descriptor.h"
#include "taper/core/files/output_target.h"

namespace taper {

class AppendFile {
 public:
  /// Makes the file, or empties an existing one, and keeps other AppendFiles away from it while this one
  /// lives. Streams (core/files/output_target.h) are written as they are. Throws FileError if the file cannot
  /// be written, or if another AppendFile, usually in another process, is writing it; the file then stays as
  /// it was.
  explicit AppendFile(const std::string& path);

  /// Appends all of `text`, or nothing if the disk is full. Throws FileError.
  void write(std::string_view text);

 private:
  OutputTarget target_;
  FileDescriptor fd_;
  int64_t size_bytes_ = 0;
};

}  // namespace taper
