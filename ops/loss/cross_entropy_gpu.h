#pragma once
// The GPU's cross entropy. cross_entropy.cpp has checked all but the targets' values, which the kernels check
// (device_check.h). Both functions only enqueue, on the current stream.

#include "taper/ops/loss/cross_entropy.h"

namespace taper::ops {

/// Fills `out`: loss (the logits' dtype), log_sum_exp and total_weight. logits: any floating dtype, row-major
/// or channels_last. target: row-major. weight: f64 for f64 logits, else f32, row-major, or undefined.
void cross_entropy_gpu(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options,
                       const CrossEntropy& out);

/// Writes `result`, which has the logits' geometry and dtype. grad: scalar or target's shape, row-major, the
/// logits' dtype.
void cross_entropy_backward_gpu(const Tensor& grad, const Tensor& logits, const Tensor& target,
                                const Tensor& log_sum_exp, const Tensor& total_weight,
                                const CrossEntropyOptions& options, const Tensor& result);

}  // namespace taper::ops
