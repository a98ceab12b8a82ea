#pragma once
// A file that one process writes piece by piece, such as a log, while others may read it.

#include <cstdint>
#include <functional>
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
  explicit AppendFile(const std::string& path) : AppendFile(path, {}) {}
  /// Goes on with a file: `keep` is given its content and returns how many bytes of it stay. Writes nothing if all
  /// stay. Throws what AppendFile(path) throws.
  AppendFile(const std::string& path, const std::function<size_t(std::string_view content)>& keep);

  /// Appends all of `text`, or nothing if the disk is full. Throws FileError.
  void write(std::string_view text);

 private:
  OutputTarget target_;
  FileDescriptor fd_;
  int64_t size_bytes_ = 0;
};

}  // namespace taper
