#pragma once
// The arithmetic of reductions, on elements in host memory.

#include "taper/ops/collective/collective_call.h"

namespace taper::detail {

/// Sets result[i] to result[i] + x[i], or to the larger of both for kMax. dtype: f32, f64, i32 or i64.
void reduce_into(ReduceOp op, DType dtype, void* result, const void* x, int64_t count);
/// Does the same where x is f16 or bf16 and result f32.
void reduce_half_into(ReduceOp op, DType dtype, float* result, const void* x, int64_t count);
/// Writes f32 elements as f16 or bf16.
void narrow(DType dtype, const float* from, void* to, int64_t count);
/// Divides f32 or f64 elements by a number.
void divide(DType dtype, void* data, int64_t count, int divisor);

}  // namespace taper::detail
