#pragma once
// Matrix products over tensors. PyTorch's counterpart: ATen/native/LinearAlgebra.cpp.

#include <optional>

#include "taper/core/tensor.h"
#include "taper/ops/activation.h"

namespace taper::ops {

/// Returns the product over a's last and b's second-to-last axis, as torch.matmul. [M, K] x [K, N] gives [M,
/// N]; leading axes are batch axes and broadcast. A 1-d a counts as a row and a 1-d b as a column; the result
/// lacks that axis. Both f32, f64, f16 or bf16 (half types multiply and accumulate in f32). Operands are read
/// in place if their rows or columns are contiguous. result_dtype: by default the operands'; f32 for half
/// types stores the f32 sums unrounded. Throws Error if shapes or dtypes do not fit.
Tensor matmul(const Tensor& a, const Tensor& b, std::optional<DType> result_dtype = {});

/// [B, M, K] x [B, K, N] gives [B, M, N]. Throws Error for other dimensions. (torch.bmm)
Tensor bmm(const Tensor& a, const Tensor& b);

/// Returns x weight^T + bias: [..., out]. x: [..., in], weight: [out, in], bias: [out] or undefined. Throws
/// Error if shapes or dtypes do not fit. (torch.nn.functional.linear)
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

/// Returns activation(linear(x, weight, bias)), which a library computes in one pass. Half types are rounded
/// at the end, and before a gelu_tanh that is not fused. (torch._addmm_activation)
Tensor linear_fused(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation);

}  // namespace taper::ops
