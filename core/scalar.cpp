#include "taper/core/scalar.h"

#include <cmath>

namespace taper {
namespace {

/// Returns whether truncation gives an int64_t. 2^63 is a double, 2^63 - 1 is not; NaN fails both
/// comparisons.
bool fits_int64(double value) {
  return value >= -0x1p63 && value < 0x1p63;
}

}  // namespace

int64_t Scalar::truncated() const {
  TAPER_CHECK(fits_int64(real_), "the number {} does not fit i64", real_);
  return int64_t(real_);
}

Scalar Scalar::rounded(DType dtype) const {
  switch (dtype) {
    case kFloat32:
      return float(real_);
    case kFloat16:
      return float(Half(float(real_)));
    case kBFloat16:
      return float(BFloat16(float(real_)));
    default:
      return real_;
  }
}

Scalar Scalar::as_element(DType dtype, std::string_view op) const {
  if (dtype == kBool) return real_ != 0;
  if (taper::is_floating_point(dtype)) {
    const Scalar value = rounded(dtype);
    TAPER_CHECK(std::isfinite(value.real_) || !std::isfinite(real_),
                "{}: {} does not fit {}; use a tensor of a wider dtype, or an infinite number", op, *this,
                dtype);
    return value;
  }
  const IntegerRange range = integer_range(dtype);
  const bool fits = !is_floating_point() || fits_int64(real_);
  const int64_t value = fits ? to_int64() : 0;
  TAPER_CHECK(fits && value >= range.lowest && value <= range.highest,
              "{}: {} does not fit {}, whose numbers go from {} to {}; use a tensor of a wider dtype", op,
              *this, dtype, range.lowest, range.highest);
  return value;
}

std::string Scalar::str() const {
  if (is_bool()) return integer_ != 0 ? "true" : "false";
  return is_floating_point() ? fmt::format("{}", real_) : fmt::format("{}", integer_);
}

}  // namespace taper
