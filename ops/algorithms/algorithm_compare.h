#pragma once
// Whether a candidate's result can be right, seen beside the reference's.

#include <string>

#include "taper/core/tensor.h"

namespace taper::detail {

/// Bytes from a tensor's first element to its last.
size_t span_bytes(const Tensor& x);

/// Why `actual` cannot be right where the algorithm called `reference` gives `expected`; empty if it can.
/// Both have one shape, strides, dtype and device, which is where they are compared; u8 are taken for the
/// bits of comparisons. `epsilon`: the relative rounding of what `actual` was computed in, where that is
/// coarser than its dtype; else 0.
std::string difference(const Tensor& actual, const Tensor& expected, double epsilon,
                       const std::string& reference);

// ------------------------------------------------------------------------ on a GPU (algorithm_compare.cu)

/// The sum of the squares of the `count` elements from x's first on.
double sum_of_squares_on_gpu(const Tensor& x, int64_t count);
/// The largest relative_error() of the first `count` elements.
double worst_error_on_gpu(const Tensor& actual, const Tensor& expected, int64_t count, double magnitude);
/// How many bits of the first `count` bytes differ.
int64_t differing_bits_on_gpu(const Tensor& actual, const Tensor& expected, int64_t count);

}  // namespace taper::detail
