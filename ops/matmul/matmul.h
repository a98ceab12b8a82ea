#pragma once
// Matrix products over tensors. PyTorch's counterpart: ATen/native/LinearAlgebra.cpp.

#include "taper/core/tensor.h"
#include "taper/ops/activation.h"

namespace taper::ops {

/// The product over a's last and b's second-to-last axis, as torch.matmul: [M, K] x [K, N] gives [M, N]; axes
/// in front are batch axes and broadcast; a 1-d a counts as a row and a 1-d b as a column whose axis is
/// dropped from the result. Both f32, f64, f16 or bf16 (half types multiply and accumulate in f32). Operands
/// of any strides are read without a copy where their rows or columns are contiguous. Throws Error if shapes
/// or dtypes do not fit.
Tensor matmul(const Tensor& a, const Tensor& b);

/// [B, M, K] x [B, K, N] gives [B, M, N]. Throws Error for other dimensions. (torch.bmm)
Tensor bmm(const Tensor& a, const Tensor& b);

/// x weight^T + bias. x: [..., in], weight: [out, in], bias: [out] or undefined. Returns [..., out].
/// Throws Error if shapes or dtypes do not fit. (torch.nn.functional.linear)
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

/// activation(linear(x, weight, bias)), which a library computes in one pass. Half types are rounded at the
/// end, and before a gelu_tanh that is not fused. (torch._addmm_activation)
Tensor linear_fused(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation);

}  // namespace taper::ops
