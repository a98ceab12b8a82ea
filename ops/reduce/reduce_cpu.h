#pragma once
// The CPU's reductions; the checks are made in reduce.cpp.

#include "taper/core/tensor.h"

namespace taper::ops {

enum class ReduceOp : uint8_t { kSum, kMean, kNorm, kMax, kMin, kAny, kAll };

/// out: x's shape with size 1 in `axes` (normalized), any strides; has at least one element. Of nothing, kMax
/// and kMin are undefined.
void reduce_cpu(ReduceOp op, const Tensor& out, const Tensor& x, const Dims& axes);

/// kMax or kMin along one axis that has elements. values: as `out` above; indices: as values, i64.
void reduce_indices_cpu(ReduceOp op, const Tensor& values, const Tensor& indices, const Tensor& x,
                        int64_t axis);

/// x, values, indices: row-major, the axis last.
void topk_cpu(const Tensor& values, const Tensor& indices, const Tensor& x, bool largest);

}  // namespace taper::ops
