#pragma once
// The JSON header of a safetensors file, read as untrusted and written canonically. Private to nn/io.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "taper/core/base/dtype.h"
#include "taper/core/dims.h"

namespace taper::detail {

/// One tensor's entry in the header; the offsets count bytes from the end of the header.
struct SafetensorsEntry {
  DType dtype = kFloat32;
  std::string foreign_dtype = {};  ///< the name of a dtype that Taper lacks; else empty
  Shape shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
};

/// The largest JSON header that is read, as in the reference implementation.
inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;
/// The largest number of names, of tensors and in the metadata. The shortest entry has some 50 bytes and
/// costs some 700 in memory, so a file's size alone is no bound. The largest models have a third of this.
inline constexpr int kMaxSafetensorsNames = 1 << 18;

/// Reads `text`, the header alone, of a file with `data_bytes` bytes after it. Every entry returned is
/// consistent (its shape fills its bytes, if its dtype is known), and together they fill the data exactly.
/// Throws FileError beginning with `path`.
SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes,
                                           const std::string& path);

/// Returns the header as JSON, padded with spaces to a multiple of 8 bytes. Throws Error for invalid UTF-8.
std::string format_safetensors_header(const SafetensorsHeader& header);

}  // namespace taper::detail
