#pragma once
// Histogram: how the values of a tensor are spread, from the tiniest to the largest.

#include <cstdint>
#include <vector>

#include "taper/core/tensor.h"

namespace taper {

/// Bucket i counts the values from limits[i - 1] to limits[i]; the first begins at `least`. Each power of two
/// has four buckets on either side of 0, so that gradients of 1e-7 and weights of 1 are equally well resolved.
/// Values nearer to 0 than 2^-40 share a bucket. Infinite values and NaN are counted apart.
struct Histogram {
  double least = 0, largest = 0;  ///< of the finite values; 0 if there are none
  double sum = 0, sum_squares = 0;
  int64_t count = 0;       ///< of finite values
  int64_t not_finite = 0;  ///< of infinite values and NaN
  std::vector<double> limits;
  std::vector<double> counts;
};

/// Returns the histogram of a floating-point tensor, whose values are rounded to f32. Waits for the tensor if
/// it is on a GPU, and counts on the CPU: about 3 ns a value.
Histogram histogram_of(const Tensor& x);

}  // namespace taper
