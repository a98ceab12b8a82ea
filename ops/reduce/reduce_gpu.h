#pragma once
// The GPU's reductions. reduce.cpp has checked the arguments. All functions only enqueue, on the current
// stream of the tensors' device.

#include "taper/ops/reduce/reduce_cpu.h"

namespace taper::ops {

/// Arguments as reduce_cpu.
void reduce_gpu(ReduceOp op, const Tensor& out, const Tensor& x, const Dims& axes);

/// reduce_gpu for kMax and kMin, on the current device.
void reduce_extreme_gpu(ReduceOp op, const Tensor& out, const Tensor& x, const Dims& axes);

/// Arguments as reduce_indices_cpu.
void reduce_indices_gpu(ReduceOp op, const Tensor& values, const Tensor& indices, const Tensor& x,
                        int64_t axis);

/// Arguments as topk_cpu.
void topk_gpu(const Tensor& values, const Tensor& indices, const Tensor& x, bool largest);

}  // namespace taper::ops
