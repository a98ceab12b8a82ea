#pragma once
// The CPU's batched matrix product; matmul.cpp has checked the operands.

#include "taper/core/tensor.h"

namespace taper::ops {

/// c = a b + beta * c. a: [batch..., M, K], b: [batch..., K, N], c: [batch..., M, N] row-major; one batch
/// shape, in which a and b may have strides of 0; all f32 or all f64; the rows or the columns of a and b are
/// contiguous.
void matmul_cpu(const Tensor& a, const Tensor& b, double beta, const Tensor& c);

/// Whether the last two axes of x can be read as a matrix in place.
bool is_matrix_layout(const Tensor& x);

}  // namespace taper::ops
