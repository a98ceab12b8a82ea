#pragma once
// Messages of Protocol Buffers, written field by field. TensorBoard's files consist of such messages. Only the
// writing half, and only the kinds of fields that these messages have. The wire format:
// https://protobuf.dev/programming-guides/encoding.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace taper {

/// A message under way. Every function appends one field and returns the message; a field of number `field`
/// may be repeated.
class ProtoMessage {
 public:
  /// int32, int64, bool and enum.
  ProtoMessage& integer(int field, int64_t value);
  ProtoMessage& number(int field, double value);
  ProtoMessage& single(int field, float value);
  /// A string. Readers refuse a message whose text is not UTF-8, so such text is made printable.
  ProtoMessage& text(int field, std::string_view value);
  ProtoMessage& bytes(int field, std::string_view value);
  ProtoMessage& message(int field, const ProtoMessage& value) { return bytes(field, value.str()); }
  /// Repeated doubles, packed.
  ProtoMessage& numbers(int field, std::span<const double> values);

  /// Returns the bytes.
  const std::string& str() const { return bytes_; }

 private:
  void key(int field, int wire_type);
  void varint(uint64_t value);

  std::string bytes_;
};

}  // namespace taper
