#pragma once
// What a path that is to be written stands for: a file, which is made or replaced, or a stream, which bytes
// go through and nothing may replace. Streams are devices, pipes and sockets, and what the program's standard
// output or error goes to, also where that is a file: `--summary /dev/stdout > results`.

#include <sys/stat.h>

#include <optional>
#include <string>

#include "taper/core/files/file_descriptor.h"

namespace taper {

class OutputTarget {
 public:
  /// Follows symbolic links, also one to a name that nothing has yet: the file will be made there. Throws
  /// FileError if `path` is a folder or cannot be looked at.
  explicit OutputTarget(const std::string& path);

  /// Where the links lead.
  const std::string& path() const { return path_; }
  /// The folder of path(), with a slash at its end.
  std::string folder() const;
  bool is_stream() const { return is_stream_; }
  /// What is there; nothing if the file is to be made.
  const std::optional<struct stat>& status() const { return status_; }
  /// Whether the paths name one file, also by different links. Streams are nobody's: false.
  bool is_same_file(const OutputTarget& other) const;

  /// Opens the stream; on a pipe, waits for a reader. What was printed before comes first. Throws FileError.
  FileDescriptor open_stream() const;
  /// Throws the FileError of open_stream() as far as it can be known without opening, which a pipe's reader
  /// would notice.
  void check_stream() const;

  /// Throws FileError: "PATH: cannot be written: ...".
  [[noreturn]] void fail_to_write(int error) const;

 private:
  void follow_links();

  std::string given_, path_;
  std::optional<struct stat> status_;
  bool is_stream_ = false;
  int standard_fd_ = -1;  // of the standard stream that it is
};

}  // namespace taper
