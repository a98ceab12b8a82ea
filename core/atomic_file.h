#pragma once
// Files that are there whole or not at all: written under a temporary name in the same folder, flushed to
// disk, then renamed. A reader, or a machine that loses power, sees the old content or the new, never a part.

#include <cstddef>
#include <string>
#include <string_view>

namespace taper {

class AtomicFile {
 public:
  /// Creates the temporary file. Throws FileError if the folder is missing or not writable.
  explicit AtomicFile(std::string path);
  /// Removes the temporary file unless commit() has run.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends. Throws FileError, as when the disk is full.
  void write(const void* data, size_t size_bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Flushes to disk and puts the file in its place. Throws FileError; the old file is then still there.
  void commit();

 private:
  [[noreturn]] void fail_to_write(int error) const;

  std::string path_;
  std::string temporary_path_;
  int fd_ = -1;
};

/// Writes `text` as the whole of the file at `path`. Throws FileError.
void write_file_atomically(const std::string& path, std::string_view text);

}  // namespace taper
