#pragma once  // spine 2 (docs/0-the-spine.md)
// Element types, their sizes, and PyTorch's rules for mixing them. PyTorch's counterpart:
// c10/core/ScalarType.h.

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "taper/core/base/error.h"
#include "taper/core/base/half.h"

namespace taper {

enum class DType : uint8_t {
  kFloat32,
  kFloat64,
  kFloat16,
  kBFloat16,
  kInt64,
  kInt32,
  kUInt8,
  kBool,
};
using enum DType;

/// Returns "f32", "f64", "f16", "bf16", "i64", "i32", "u8" or "bool".
std::string_view name(DType dtype);
/// Returns the dtype that name() calls `text`. Throws Error on any other text.
DType parse_dtype(std::string_view text);

constexpr size_t size_of(DType dtype) {
  switch (dtype) {
    case kFloat64:
    case kInt64:
      return 8;
    case kFloat32:
    case kInt32:
      return 4;
    case kFloat16:
    case kBFloat16:
      return 2;
    case kUInt8:
    case kBool:
      return 1;
  }
  return 0;
}

constexpr bool is_floating_point(DType dtype) {
  return dtype == kFloat32 || dtype == kFloat64 || dtype == kFloat16 || dtype == kBFloat16;
}
constexpr bool is_half(DType dtype) {
  return dtype == kFloat16 || dtype == kBFloat16;
}
constexpr bool is_integral(DType dtype) {
  return dtype == kInt64 || dtype == kInt32 || dtype == kUInt8;
}

/// The range of numbers that an integer dtype holds; 0 and 1 for bool.
struct IntegerRange {
  int64_t lowest = 0, highest = 0;
};
constexpr IntegerRange integer_range(DType dtype) {
  switch (dtype) {
    case kInt64:
      return {INT64_MIN, INT64_MAX};
    case kInt32:
      return {INT32_MIN, INT32_MAX};
    case kUInt8:
      return {0, UINT8_MAX};
    default:
      return {0, 1};
  }
}

/// Returns the smallest dtype that holds the values of both, by PyTorch's table: bool < integers < floats;
/// f16 with bf16 gives f32. (torch.promote_types)
DType promote_types(DType a, DType b);

/// Returns the dtype that arithmetic uses: f32 for f16 and bf16, else `dtype` itself.
constexpr DType compute_dtype(DType dtype) {
  return is_half(dtype) ? kFloat32 : dtype;
}

template <class T>
struct dtype_traits;
template <>
struct dtype_traits<float> {
  static constexpr DType value = kFloat32;
};
template <>
struct dtype_traits<double> {
  static constexpr DType value = kFloat64;
};
template <>
struct dtype_traits<Half> {
  static constexpr DType value = kFloat16;
};
template <>
struct dtype_traits<BFloat16> {
  static constexpr DType value = kBFloat16;
};
template <>
struct dtype_traits<int64_t> {
  static constexpr DType value = kInt64;
};
template <>
struct dtype_traits<int32_t> {
  static constexpr DType value = kInt32;
};
template <>
struct dtype_traits<uint8_t> {
  static constexpr DType value = kUInt8;
};
template <>
struct dtype_traits<bool> {
  static constexpr DType value = kBool;
};
/// dtype_of<float> == kFloat32.
template <class T>
inline constexpr DType dtype_of = dtype_traits<T>::value;

/// Calls body.operator()<T>() with the C++ type of `dtype` and returns its result: dispatch(x.dtype(),
/// [&]<class T>() { ... }).
template <class Body>
decltype(auto) dispatch(DType dtype, Body&& body) {
  switch (dtype) {
    case kFloat32:
      return body.template operator()<float>();
    case kFloat64:
      return body.template operator()<double>();
    case kFloat16:
      return body.template operator()<Half>();
    case kBFloat16:
      return body.template operator()<BFloat16>();
    case kInt64:
      return body.template operator()<int64_t>();
    case kInt32:
      return body.template operator()<int32_t>();
    case kUInt8:
      return body.template operator()<uint8_t>();
    case kBool:
      return body.template operator()<bool>();
  }
  fail("dtype {} is not known", int(dtype));
}

/// As dispatch, but for f32 and f64 only: the caller has converted half types already. Throws Error naming
/// `op` for any other dtype.
template <class Body>
decltype(auto) dispatch_compute_float(DType dtype, std::string_view op, Body&& body) {
  if (dtype == kFloat32) return body.template operator()<float>();
  if (dtype == kFloat64) return body.template operator()<double>();
  fail("{}: needs a floating-point dtype, got {}; convert with .to(kFloat32)", op, name(dtype));
}

}  // namespace taper

template <>
struct fmt::formatter<taper::DType> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(taper::DType dtype, Context& ctx) const {
    return fmt::formatter<std::string_view>::format(taper::name(dtype), ctx);
  }
};
