#include "taper/nn/report/tensorboard/protobuf.h"

#include <bit>

#include "taper/core/base/printable.h"

namespace taper {
namespace {

enum WireType { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

/// Appends the bytes of `bits`, the lowest first.
template <class Bits>
void append_bits(std::string& bytes, Bits bits) {
  for (size_t i = 0; i < sizeof bits; ++i) bytes += char(bits >> (8 * i) & 0xff);
}

}  // namespace

void ProtoMessage::varint(uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_ += char(value | 0x80);
  bytes_ += char(value);
}

void ProtoMessage::key(int field, int wire_type) {
  varint(uint64_t(field) << 3 | uint64_t(wire_type));
}

ProtoMessage& ProtoMessage::integer(int field, int64_t value) {
  key(field, kVarint);
  varint(uint64_t(value));
  return *this;
}

ProtoMessage& ProtoMessage::number(int field, double value) {
  key(field, kFixed64);
  append_bits(bytes_, std::bit_cast<uint64_t>(value));
  return *this;
}

ProtoMessage& ProtoMessage::single(int field, float value) {
  key(field, kFixed32);
  append_bits(bytes_, std::bit_cast<uint32_t>(value));
  return *this;
}

ProtoMessage& ProtoMessage::text(int field, std::string_view value) {
  return is_utf8(value) ? bytes(field, value) : bytes(field, printable(value));
}

ProtoMessage& ProtoMessage::bytes(int field, std::string_view value) {
  key(field, kLengthDelimited);
  varint(value.size());
  bytes_ += value;
  return *this;
}

ProtoMessage& ProtoMessage::numbers(int field, std::span<const double> values) {
  key(field, kLengthDelimited);
  varint(values.size() * sizeof(double));
  for (const double value : values) append_bits(bytes_, std::bit_cast<uint64_t>(value));
  return *this;
}

}  // namespace taper
