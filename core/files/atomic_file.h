#pragma once
// Files that exist whole or not at all: written under a temporary name in the folder of the file, flushed to
// disk, then renamed. A reader sees the old content or the new, never a part, even after a power failure.
//
// The temporary name is random, so no other process ever uses it, and its writer holds a lock on it. A
// process that is killed leaves a file without a lock, and the next AtomicFile in that folder removes it.

#include <cstddef>
#include <string>
#include <string_view>

#include "taper/core/files/file_descriptor.h"
#include "taper/core/files/output_target.h"

namespace taper {

class AtomicFile {
 public:
  /// Creates the temporary file. For a symbolic link, the link's destination will be replaced. Streams
  /// (core/files/output_target.h) are opened and written as they are. Throws FileError if the file is a
  /// folder, or if its folder is missing or not writable.
  explicit AtomicFile(const std::string& path);
  /// Removes the temporary file unless commit() has run.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Throws the FileError that writing `path` would end with, as far as it can be known now. For programs
  /// that work for hours before they write. Tries all that commit() does, and leaves the file as it is.
  static void check(const std::string& path);

  /// Appends. Throws FileError, for example when the disk is full.
  void write(const void* data, size_t size_bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Flushes to disk and puts the file in place, with the owner and the permissions of the old one. Throws
  /// FileError; the old file then still exists.
  void commit();

 private:
  explicit AtomicFile(OutputTarget target);
  void create_temporary_file();
  void rename_to(const std::string& path);

  OutputTarget target_;
  std::string temporary_path_;  // empty for a stream, and after commit()
  FileDescriptor fd_;
};

/// Writes `text` as the whole content of the file at `path`. Throws FileError.
void write_file_atomically(const std::string& path, std::string_view text);

}  // namespace taper
