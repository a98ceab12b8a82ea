#include "taper/ops/algorithms/algorithm_compare.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>

#include "taper/ops/algorithms/relative_error.h"

namespace taper::detail {
namespace {

/// The share of a mask's bits (y > 0, say) that may differ because rounding decides them.
constexpr double kUndecidedBits = 1e-3;

/// Algorithms round differently, by amounts that depend on sizes unknown here. But a result without half of
/// its digits right is wrong.
double tolerance_of(DType dtype, double epsilon) {
  if (!is_floating_point(dtype)) return 0;
  return std::sqrt(std::max(epsilon_of(dtype), epsilon));
}

template <class T>
std::span<const T> elements(const Tensor& x, int64_t count) {
  return {static_cast<const T*>(x.data_ptr()), size_t(count)};
}

double sum_of_squares(const Tensor& x, int64_t count) {
  if (x.device().is_cuda()) return sum_of_squares_on_gpu(x, count);
  return dispatch(x.dtype(), [&]<class T>() {
    double sum = 0;
    for (const T value : elements<T>(x, count)) sum += double(value) * double(value);
    return sum;
  });
}

double worst_error(const Tensor& actual, const Tensor& expected, int64_t count) {
  const double mean_square = sum_of_squares(expected, count) / double(count);
  const double magnitude = std::isfinite(mean_square) ? std::sqrt(mean_square) : 0;
  if (actual.device().is_cuda()) return worst_error_on_gpu(actual, expected, count, magnitude);
  return dispatch(actual.dtype(), [&]<class T>() {
    const std::span<const T> a = elements<T>(actual, count), e = elements<T>(expected, count);
    double worst = 0;
    for (size_t i = 0; i < e.size(); ++i)
      worst = std::max(worst, relative_error(double(a[i]), double(e[i]), magnitude));
    return worst;
  });
}

int64_t differing_bits(const Tensor& actual, const Tensor& expected, int64_t count) {
  if (actual.device().is_cuda()) return differing_bits_on_gpu(actual, expected, count);
  const std::span<const uint8_t> a = elements<uint8_t>(actual, count), e = elements<uint8_t>(expected, count);
  int64_t differing = 0;
  for (size_t i = 0; i < e.size(); ++i) differing += std::popcount(uint8_t(a[i] ^ e[i]));
  return differing;
}

}  // namespace

double epsilon_of(DType dtype) {
  switch (dtype) {
    case kFloat64:
      return 0x1p-52;
    case kFloat16:
      return 0x1p-10;
    case kBFloat16:
      return 0x1p-7;
    default:
      return 0x1p-23;
  }
}

size_t span_bytes(const Tensor& x) {
  if (x.numel() == 0) return 0;
  int64_t last = 0;
  for (int64_t i = 0; i < x.dim(); ++i) last += (x.size(i) - 1) * x.strides()[i];
  return size_t(last + 1) * size_of(x.dtype());
}

std::string difference(const Tensor& actual, const Tensor& expected, double epsilon,
                       const std::string& reference) {
  const DType dtype = expected.dtype();
  const auto count = int64_t(span_bytes(expected) / size_of(dtype));
  if (count == 0) return {};
  if (dtype == kUInt8) {
    const double share = double(differing_bits(actual, expected, count)) / double(8 * count);
    if (share <= kUndecidedBits) return {};
    return fmt::format("wrong result: {:.2g} of the bits differ from {}'s, allowed {:.2g}", share, reference,
                       kUndecidedBits);
  }
  const double error = worst_error(actual, expected, count), allowed = tolerance_of(dtype, epsilon);
  if (error <= allowed) return {};
  return fmt::format("wrong result: relative error {:.2g} against {}, allowed {:.2g}", error, reference,
                     allowed);
}

}  // namespace taper::detail
