#pragma once
// A file that one process writes piece by piece, as a log, while others may read it.

#include <cstdint>
#include <string>
#include <string_view>

#include "taper/core/files/file_descriptor.h"
#include "taper/core/files/output_target.h"

namespace taper {

class AppendFile {
 public:
  /// Makes the file, or empties the one that is there, and keeps other AppendFiles away from it while it
  /// lives. Streams (core/files/output_target.h) are written as they are. Throws FileError, with the file as
  /// it was, if it cannot be written or another AppendFile, as a rule another process's, is writing it.
  explicit AppendFile(const std::string& path);

  /// Appends all of `text`, or if the disk is full none of it. Throws FileError.
  void write(std::string_view text);

 private:
  OutputTarget target_;
  FileDescriptor fd_;
  int64_t size_bytes_ = 0;
};

}  // namespace taper
