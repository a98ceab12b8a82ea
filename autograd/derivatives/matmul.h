#pragma once
// Differentiable matrix products; any order of derivatives.

#include <optional>

#include "taper/core/tensor.h"
#include "taper/ops/activation.h"

namespace taper {

/// Shapes, dtypes and errors as documented in ops/matmul/matmul.h.
Tensor matmul(const Tensor& a, const Tensor& b, std::optional<DType> result_dtype = {});
Tensor bmm(const Tensor& a, const Tensor& b);
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});
/// activation(linear(x, weight, bias)), in one op; gelu_tanh is one of its own where a gradient is recorded,
/// since it needs its input.
Tensor linear_fused(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation);

}  // namespace taper
