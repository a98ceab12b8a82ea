#pragma once
// Zip archives whose members are stored, not compressed, so that a mapped archive's members can be used where
// they lie: what torch.save() writes. Private to nn/io. The format: PKWARE's APPNOTE.TXT, sections 4.3 and
// 4.5.3 (zip64). PyTorch's counterpart: caffe2/serialize/inline_container.cc, over miniz.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace taper::detail {

struct ZipMember {
  std::string_view name;
  std::string_view data;
};

/// Returns the members of the archive that is all of `file`, in the order of its directory; they view `file`.
/// Names are unique, and no two members overlap. Checksums are not compared: PyTorch may leave them out.
/// Throws FileError beginning with `path` for an archive that is damaged, truncated, compressed or encrypted.
std::vector<ZipMember> read_zip(std::string_view file, const std::string& path);

/// Returns the checksum that begin() wants.
uint32_t zip_checksum(std::string_view data);

/// Writes an archive from its beginning to its end. Every member's data begins at a multiple of 64 bytes, as
/// in PyTorch's files, and nothing in the archive depends on the time.
class ZipWriter {
 public:
  static constexpr uint64_t kAlignment = 64;

  /// write: receives the bytes of the archive in order.
  explicit ZipWriter(std::function<void(std::string_view)> write) : write_(std::move(write)) {}

  void add(const std::string& name, std::string_view data);
  /// Begins a member. The caller then hands its `size_bytes` bytes to write_data().
  void begin(const std::string& name, uint64_t size_bytes, uint32_t checksum);
  void write_data(std::string_view data) { write(data); }
  /// Writes the directory, the archive's end.
  void finish();

 private:
  struct Entry {
    std::string name;
    uint64_t size_bytes, header_at;
    uint32_t checksum;
  };
  void write(std::string_view bytes);

  std::function<void(std::string_view)> write_;
  uint64_t written_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace taper::detail
