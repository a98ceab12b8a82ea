#include "taper/nn/report/tensorboard/record_file.h"

#include <array>

namespace taper {
namespace {

constexpr uint32_t kCastagnoli = 0x82f63b78;  // the polynomial, lowest power in the highest bit

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? kCastagnoli : 0);
    table[i] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kCrcTable = make_crc_table();

template <class Number>
void append_little_endian(std::string& bytes, Number number) {
  for (size_t i = 0; i < sizeof number; ++i) bytes += char(number >> (8 * i) & 0xff);
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~uint32_t(0);
  for (const char byte : bytes) crc = kCrcTable[(crc ^ uint8_t(byte)) & 0xff] ^ crc >> 8;
  return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return (crc >> 15 | crc << 17) + 0xa282ead8;
}

void RecordFile::write(std::string_view record) {
  std::string frame;
  frame.reserve(record.size() + 16);
  append_little_endian(frame, uint64_t(record.size()));
  append_little_endian(frame, masked_crc32c(frame));
  frame += record;
  append_little_endian(frame, masked_crc32c(record));
  file_.write(frame);
}

}  // namespace taper
