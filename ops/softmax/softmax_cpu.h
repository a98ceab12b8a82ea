#pragma once
// CPU code behind softmax.h.

#include "taper/core/tensor.h"

namespace taper::ops {

/// x and y: dense, equal strides, f32 or f64.
void softmax_cpu(const Tensor& x, const Tensor& y, int64_t axis, bool logarithm);

}  // namespace taper::ops
