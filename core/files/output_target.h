#pragma once
// What an output path stands for: a file, which is made or replaced, or a stream, which bytes go through and
// nothing may replace. Streams are devices, pipes and sockets. The program's standard output and error are
// streams even if they go to a file: `--summary /dev/stdout > results`.

#include <sys/stat.h>

#include <optional>
#include <string>

#include "taper/core/files/file_descriptor.h"

namespace taper {

class OutputTarget {
 public:
  /// Follows symbolic links, including one to a name that does not exist yet: the file will be made there.
  /// Throws FileError if `path` is a folder or cannot be examined.
  explicit OutputTarget(const std::string& path);

  /// Returns the path that the links lead to.
  const std::string& path() const { return path_; }
  /// Returns the folder of path(), with a slash at its end.
  std::string folder() const;
  bool is_stream() const { return is_stream_; }
  /// Returns what exists at path(); nothing if the file is still to be made.
  const std::optional<struct stat>& status() const { return status_; }
  /// Returns whether both paths name one file, even through different links. False for streams.
  bool is_same_file(const OutputTarget& other) const;

  /// Opens the stream; on a pipe, waits for a reader. Flushes earlier printed output first. Throws FileError.
  FileDescriptor open_stream() const;
  /// Throws the FileError of open_stream() as far as it can be known without opening: a pipe's reader would
  /// notice that.
  void check_stream() const;

  /// Throws FileError: "PATH: cannot be written: ...".
  [[noreturn]] void fail_to_write(int error) const;

 private:
  void follow_links();

  std::string given_, path_;
  std::optional<struct stat> status_;
  bool is_stream_ = false;
  int standard_fd_ = -1;  // the standard stream that the target is; -1: none
};

}  // namespace taper
