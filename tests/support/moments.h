#pragma once
// Compares the means and variances of a tensor's channels with their definition.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "taper/ops/moments/batch_moments.h"
#include "tests/support/candidate_outputs.h"
#include "tests/support/tolerance.h"

namespace taper {

struct Moments {
  std::vector<double> mean, var;
};

/// Returns the moments of each of x's channels, by their definition, in f64. x: [N, C, H, W].
inline Moments moments_of(const Tensor& x) {
  const auto values = ops::to_vector<double>(x);
  const auto channels = size_t(x.size(1)), plane = size_t(x.size(2) * x.size(3));
  const double count = double(values.size() / std::max<size_t>(channels, 1));
  Moments moments = {std::vector<double>(channels), std::vector<double>(channels)};
  for (size_t i = 0; i < values.size(); ++i) moments.mean[i / plane % channels] += values[i] / count;
  for (size_t i = 0; i < values.size(); ++i) {
    const double distance = values[i] - moments.mean[i / plane % channels];
    moments.var[i / plane % channels] += distance * distance / count;
  }
  return moments;
}

/// From what values moments are gathered, and how.
enum class Gathered {
  kFromMemory,  ///< the values in memory; the mean is known before the variance is computed
  kFromSums,    ///< sums of values and of their squares, before values are rounded to memory's dtype
};

/// Returns how a candidate, by its name, gathers moments.
inline Gathered gathered_by(const std::string& candidate) {
  return is_vendors(candidate) && candidate.ends_with("sums") ? Gathered::kFromSums : Gathered::kFromMemory;
}

/// Fails the test unless `actual` are y's moments: means to within rounding of the channel's values,
/// variances to within rounding of their terms. Sums also differ by the rounding of y's values. The
/// difference of their squares cancels, so their terms have the size of mean^2 + variance.
inline void check_moments(const BatchMoments& actual, const Tensor& y,
                          Gathered gathered = Gathered::kFromMemory) {
  const Moments expected = moments_of(y);
  const DType dtype = compute_dtype(y.dtype());
  REQUIRE(actual.mean.dtype() == dtype);
  REQUIRE(actual.var.dtype() == dtype);
  const bool sums = gathered == Gathered::kFromSums;
  const double allowed = tolerance(sums ? y.dtype() : dtype, y.numel() / std::max<int64_t>(y.size(1), 1));
  double spread = 0, largest_square = 0;
  for (size_t c = 0; c < expected.var.size(); ++c) {
    spread += std::sqrt(expected.var[c]) / double(expected.var.size());
    largest_square = std::max(largest_square, expected.mean[c] * expected.mean[c] + expected.var[c]);
  }
  check_close(ops::to_vector<double>(actual.mean), expected.mean, allowed, spread);
  check_close(ops::to_vector<double>(actual.var), expected.var, allowed, sums ? largest_square : 0);
}

}  // namespace taper
