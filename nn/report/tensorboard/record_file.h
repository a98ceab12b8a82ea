#pragma once
// RecordFile: a TFRecord file, TensorFlow's container for messages of any kind. Each record is framed by its
// length and two checksums, so that a reader notices damage and a record that is still being written. The
// format: tensorflow/core/lib/io/record_writer.h.

#include <cstdint>
#include <string>
#include <string_view>

#include "taper/core/files/append_file.h"

namespace taper {

/// Returns the CRC-32C (Castagnoli) of the bytes: RFC 3720, appendix B.4.
uint32_t crc32c(std::string_view bytes);

/// Returns the CRC-32C as TFRecord stores it: rotated and shifted, since a CRC over data that holds its own CRC
/// says little.
uint32_t masked_crc32c(std::string_view bytes);

class RecordFile {
 public:
  /// Makes the file, or empties an existing one. Throws FileError.
  explicit RecordFile(const std::string& path) : file_(path) {}

  /// Appends a record, at once and without a buffer: a process that is killed loses nothing. If the disk is
  /// full, appends nothing and throws FileError.
  void write(std::string_view record);

 private:
  AppendFile file_;
};

}  // namespace taper
