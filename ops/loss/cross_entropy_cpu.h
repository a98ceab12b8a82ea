#pragma once
// CPU code behind cross_entropy.h.

#include "taper/ops/loss/cross_entropy.h"

namespace taper::ops {

/// Fills `out`: loss (the logits' dtype), log_sum_exp and total_weight. logits: f32, f64, f16 or bf16,
/// row-major or channels_last. target: row-major, checked. weight: the logits' compute dtype, row-major, or
/// undefined.
void cross_entropy_cpu(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options,
                       const CrossEntropy& out);

/// Writes `result`, which has the logits' geometry. grad: scalar or target's shape, row-major, the logits'
/// dtype.
void cross_entropy_backward_cpu(const Tensor& grad, const Tensor& logits, const Tensor& target,
                                const Tensor& log_sum_exp, const Tensor& total_weight,
                                const CrossEntropyOptions& options, const Tensor& result);

}  // namespace taper::ops
