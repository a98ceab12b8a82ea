#pragma once
// The GPU's copies and fills on one device. copy.cpp has checked the arguments. They only enqueue, on the
// current stream of the tensors' device.

#include "taper/core/tensor.h"

namespace taper::ops {

/// Copies src to dst: equal shapes with at least one element, any strides and dtypes (src may repeat
/// elements), one device.
void copy_gpu(const Tensor& dst, const Tensor& src);

/// Fills x, which has at least one element, with `value`, which is an element of x's dtype.
void fill_gpu(const Tensor& x, Scalar value);

}  // namespace taper::ops
