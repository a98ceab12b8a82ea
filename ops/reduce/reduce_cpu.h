#pragma once
// The CPU's reductions. reduce.cpp has checked the arguments.

#include "taper/core/tensor.h"

namespace taper::ops {

enum class ReduceOp : uint8_t { kSum, kMean, kNorm, kMax, kMin, kAny, kAll };

/// Writes the reduction of x to `out`: x's shape with size 1 in `axes` (normalized), any strides, at least
/// one element. kMax and kMin of no elements are undefined.
void reduce_cpu(ReduceOp op, const Tensor& out, const Tensor& x, const Dims& axes);

/// kMax or kMin along one axis that has elements. values: any strides; indices: i64, with the strides of
/// values.
void reduce_indices_cpu(ReduceOp op, const Tensor& values, const Tensor& indices, const Tensor& x,
                        int64_t axis);

/// x, values, indices: row-major, with the axis last.
void topk_cpu(const Tensor& values, const Tensor& indices, const Tensor& x, bool largest);

}  // namespace taper::ops
