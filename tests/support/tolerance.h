#pragma once
// How far a result may be from the truth. The bound follows from the dtype and from the number of terms in an
// element's sum. It is written here alone, never tuned in a test.

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "taper/ops/copy/copy.h"

namespace taper {

/// Returns the distance from 1 to the next number; 0 for integers and bool.
inline double epsilon(DType dtype) {
  switch (dtype) {
    case kFloat64:
      return 0x1p-52;
    case kFloat32:
      return 0x1p-23;
    case kFloat16:
      return 0x1p-10;
    case kBFloat16:
      return 0x1p-7;
    default:
      return 0;
  }
}

/// Returns the relative error allowed for a sum of `reduction_length` terms (1 for elementwise ops): errors
/// add up like a random walk. Half types compute in f32 and round at the end; PyTorch may round earlier.
inline double tolerance(DType dtype, int64_t reduction_length = 1) {
  const double growth = 8 * std::sqrt(double(std::max<int64_t>(reduction_length, 1)));
  if (is_half(dtype)) return 2 * epsilon(dtype) + growth * epsilon(kFloat32);
  return growth * epsilon(dtype);
}

/// Returns mean |value| over the finite values, 0 where there is none.
inline double mean_magnitude(const std::vector<double>& values) {
  double sum = 0, finite = 0;
  for (const double value : values) {
    if (std::isfinite(value)) sum += std::fabs(value), ++finite;
  }
  return finite > 0 ? sum / finite : 0;
}
inline double mean_magnitude(const Tensor& values) {
  return mean_magnitude(ops::to_vector<double>(values));
}

/// Fails the test unless every element is within tolerance * (|expected| + magnitude) of what is expected.
/// `magnitude` is for elements in which large terms cancel: the size of those terms, by default mean
/// |expected|. NaN matches NaN, and infinity matches itself.
inline void check_close(const std::vector<double>& actual, const std::vector<double>& expected,
                        double tolerance, double magnitude = -1) {
  REQUIRE(actual.size() == expected.size());
  if (magnitude < 0) magnitude = mean_magnitude(expected);
  for (size_t i = 0; i < actual.size(); ++i) {
    const double a = actual[i], e = expected[i];
    const bool same = a == e || (std::isnan(a) && std::isnan(e));
    if (same || std::fabs(a - e) <= tolerance * (std::fabs(e) + magnitude)) continue;
    FAIL_CHECK(fmt::format("element {} of {}: got {:.9g}, expected {:.9g}; off by {:.3g}, allowed {:.3g}", i,
                           actual.size(), a, e, std::fabs(a - e), tolerance * (std::fabs(e) + magnitude)));
    return;
  }
  SUCCEED();
}

/// Compares two tensors of one shape, in row-major order; layouts and dtypes may differ.
inline void check_close(const Tensor& actual, const Tensor& expected, double tolerance,
                        double magnitude = -1) {
  REQUIRE(actual.defined());
  REQUIRE(actual.shape() == expected.shape());
  check_close(ops::to_vector<double>(actual), ops::to_vector<double>(expected), tolerance, magnitude);
}

/// Compares two tensors with the tolerance of an elementwise op in actual's dtype.
inline void check_close(const Tensor& actual, const Tensor& expected) {
  check_close(actual, expected, tolerance(actual.dtype()));
}

}  // namespace taper
