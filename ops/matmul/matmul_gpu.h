#pragma once
// The GPU's matrix products over tensors; matmul.cpp has checked the operands. Only enqueues, on the current
// stream of the tensors' device.

#include "taper/core/tensor.h"
#include "taper/ops/activation.h"

namespace taper::ops {

/// c = a b. a: [batch..., M, K], b: [batch..., K, N], c: [batch..., M, N] row-major. All have
/// one dtype, but c may be f32 where a and b are half types. All have one batch shape, where a and b may have
/// strides of 0. The rows or columns of a and b are contiguous.
void matmul_gpu(const Tensor& a, const Tensor& b, const Tensor& c);

/// y = activation(x weight^T + bias), all in one dtype. x: [rows, in] row-major, weight: [out, in] with
/// contiguous rows or columns, bias: [out] contiguous or undefined, y: [rows, out] row-major.
void linear_gpu(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation,
                const Tensor& y);

}  // namespace taper::ops
