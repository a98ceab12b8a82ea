#pragma once
// CPU code behind softmax.h.

#include "taper/core/tensor.h"

namespace taper::ops {

/// x and y: dense, equal strides and dtypes, f32, f64, f16 or bf16.
void softmax_cpu(const Tensor& x, const Tensor& y, int64_t axis, bool logarithm);

}  // namespace taper::ops
