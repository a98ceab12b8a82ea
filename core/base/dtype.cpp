#include "taper/core/base/dtype.h"

#include <array>

namespace taper {
namespace {

constexpr std::array<std::string_view, 8> kNames = {"f32", "f64", "f16", "bf16", "i64", "i32", "u8", "bool"};

}  // namespace

std::string_view name(DType dtype) {
  return kNames[size_t(dtype)];
}

DType parse_dtype(std::string_view text) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == text) return DType(i);
  }
  fail("dtype '{}' is not known; use f32, f64, f16, bf16, i64, i32, u8 or bool", text);
}

DType promote_types(DType a, DType b) {
  if (a == b) return a;
  if (a == kBool) return b;
  if (b == kBool) return a;
  const bool a_float = is_floating_point(a);
  const bool b_float = is_floating_point(b);
  if (a_float != b_float) return a_float ? a : b;  // a float absorbs any integer
  if (a_float) {
    if (a == kFloat64 || b == kFloat64) return kFloat64;
    return kFloat32;  // f32 with a half type, or the two half types together
  }
  return size_of(a) > size_of(b) ? a : b;  // u8 < i32 < i64
}

}  // namespace taper
