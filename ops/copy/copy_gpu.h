#pragma once
// The GPU's copies and fills on one device; copy.cpp has checked the arguments. All only enqueue, on the
// current stream of the tensors' device.

#include "taper/core/tensor.h"

namespace taper::ops {

/// One shape, any strides and dtypes (src may repeat elements), at least one element, one device.
void copy_gpu(const Tensor& dst, const Tensor& src);

/// x has at least one element, and `value` is an element of its dtype.
void fill_gpu(const Tensor& x, Scalar value);

}  // namespace taper::ops
