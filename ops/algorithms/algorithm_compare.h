#pragma once
// Whether a candidate's result can be right, compared with the reference's.

#include <string>

#include "taper/core/tensor.h"

namespace taper::detail {

/// Returns the bytes from a tensor's first element to its last.
size_t span_bytes(const Tensor& x);

/// Returns the relative distance of neighbouring numbers in a floating-point dtype.
double epsilon_of(DType dtype);

/// Returns why `actual` cannot be right if the algorithm called `reference` gives `expected`; empty if it
/// can. Both have one shape, strides, dtype and device, and are compared there. u8 outputs are compared bit
/// by bit, because they hold masks. `epsilon`: the relative rounding of the computation, where that is
/// coarser than the dtype's; else 0.
std::string difference(const Tensor& actual, const Tensor& expected, double epsilon,
                       const std::string& reference);

// ------------------------------------------------------------------------ on a GPU (algorithm_compare.cu)

/// The sum of the squares of x's first `count` elements.
double sum_of_squares_on_gpu(const Tensor& x, int64_t count);
/// The largest relative_error() of the first `count` elements.
double worst_error_on_gpu(const Tensor& actual, const Tensor& expected, int64_t count, double magnitude);
/// The number of different bits in the first `count` bytes.
int64_t differing_bits_on_gpu(const Tensor& actual, const Tensor& expected, int64_t count);

}  // namespace taper::detail
