#pragma once
// A number without a dtype yet: the 2 in x * 2. Integers stay integers, so no 64-bit value is rounded on its
// way in or out. PyTorch's counterpart: c10/core/Scalar.h.

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "taper/core/base/dtype.h"

namespace taper {

class Scalar {
 public:
  Scalar(bool value) : kind_(kBool), integer_(value), real_(value) {}
  /// Throws Error for an unsigned number of 2^63 or more, which does not fit i64.
  template <std::integral T>
  Scalar(T value) : kind_(kInt64), integer_(int64_t(value)), real_(double(value)) {
    if constexpr (std::unsigned_integral<T> && sizeof(T) == sizeof(int64_t)) {
      TAPER_CHECK(integer_ >= 0, "the number {} does not fit i64; write it as a double", value);
    }
  }
  template <std::floating_point T>
  Scalar(T value) : kind_(kFloat64), integer_(0), real_(double(value)) {}

  double to_double() const { return real_; }
  /// Truncates a floating-point number. Throws Error if it does not fit i64, or is NaN.
  int64_t to_int64() const { return is_floating_point() ? truncated() : integer_; }
  /// Returns the number as a T: truncated for integers, "not 0" for bool. Throws Error if it does not fit an
  /// integer T.
  template <class T>
  T to() const {
    if constexpr (std::same_as<T, bool>) {
      return real_ != 0;
    } else if constexpr (std::integral<T>) {
      const int64_t value = to_int64();
      TAPER_CHECK(std::in_range<T>(value), "the number {} does not fit an integer of {} bits", str(),
                  8 * sizeof(T));
      return T(value);
    } else if constexpr (std::same_as<T, double> || std::same_as<T, float>) {
      return is_floating_point() ? T(real_) : T(integer_);
    } else {
      return T(float(real_));
    }
  }
  /// Returns the number as an element of `dtype` holds it: truncated for integers, rounded for floats, "not
  /// 0" for bool. Every number that is written into a tensor passes through here. Throws Error naming `op` if
  /// the number does not fit: 300 or -1 as u8, NaN as an integer, 1e6 as f16.
  Scalar as_element(DType dtype, std::string_view op) const;
  /// Returns the number rounded to the float `dtype`; infinite if it is too large for it.
  Scalar rounded(DType dtype) const;

  bool is_floating_point() const { return kind_ == kFloat64; }
  bool is_bool() const { return kind_ == kBool; }

  /// Returns the dtype of `tensor op scalar`: the tensor's own, unless the scalar is of a higher category. A
  /// float with an integer tensor gives f32, an integer with a bool tensor gives i64. As in PyTorch.
  DType result_type(DType tensor) const {
    if (is_floating_point()) return taper::is_floating_point(tensor) ? tensor : kFloat32;
    if (kind_ == kInt64 && tensor == kBool) return kInt64;
    return tensor;
  }

  /// Returns text like "300", "0.5", "nan" or "true".
  std::string str() const;

 private:
  int64_t truncated() const;

  DType kind_;
  int64_t integer_;  ///< value of bool and integers
  double real_;
};

}  // namespace taper

template <>
struct fmt::formatter<taper::Scalar> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const taper::Scalar& scalar, Context& ctx) const {
    return fmt::formatter<std::string>::format(scalar.str(), ctx);
  }
};
