#pragma once
// Differentiable matrix products; any order of derivatives.

#include "taper/core/tensor.h"

namespace taper {

/// Shapes, dtypes and errors as documented in ops/matmul/matmul.h.
Tensor matmul(const Tensor& a, const Tensor& b);
Tensor bmm(const Tensor& a, const Tensor& b);
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

}  // namespace taper
