#pragma once
// A file's bytes in memory without reading them first: pages arrive when touched. PyTorch's counterpart:
// aten/src/ATen/MapAllocator.h.

#include <cstddef>
#include <string>

namespace taper {

/// A regular file mapped whole and privately: writing to the mapping changes memory, never the file. A
/// process that shortens the file in place removes its pages (SIGBUS). Writers that replace files, like
/// AtomicFile, leave the mapping intact.
class MappedFile {
 public:
  /// Throws FileError if the file is missing, unreadable or not a regular file.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// Null for an empty file.
  char* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }

 private:
  char* data_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace taper
