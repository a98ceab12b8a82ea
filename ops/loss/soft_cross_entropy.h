#pragma once
// Softmax cross entropy with class probabilities: what mixed images and a teacher's answers are compared with.
// As with class indices, the backward pass recomputes the probabilities of the logits. PyTorch's counterpart:
// ATen/native/LossNLL.cpp (cross_entropy_loss_prob_target), which goes through a stored log-softmax.

#include "taper/ops/loss/cross_entropy.h"

namespace taper::ops {

/// What soft_cross_entropy returns: the loss, and what its backward needs.
struct SoftCrossEntropy {
  Tensor loss;         ///< a scalar, or [N, d1, ...] for Reduction::kNone; the logits' dtype
  Tensor log_sum_exp;  ///< [N, d1, ...] f64
  Tensor mass;         ///< [N, d1, ...] f64: the sum of q
};

/// Returns the loss. With p = softmax(logits) over axis 1, t the target, w the class weights and s the label
/// smoothing, each position loses -sum_c(q[c] * log p[c]), where q[c] = w[c] * ((1 - s) * t[c] + s/C). The mean
/// divides by the number of positions, whatever the weights are.
///
/// logits: [N, C], [N, C, d1, ...] or [C], float. target: the logits' shape, float; its values are not checked.
/// Throws Error for an ignore_index that is not negative: there is no index to ignore.
/// (torch.nn.functional.cross_entropy)
SoftCrossEntropy soft_cross_entropy(const Tensor& logits, const Tensor& target,
                                    const CrossEntropyOptions& options = {});

/// Returns the gradient of the logits, in their shape and dtype, given the gradient of the loss.
Tensor soft_cross_entropy_backward(const Tensor& grad, const Tensor& logits, const Tensor& target,
                                   const Tensor& log_sum_exp, const Tensor& mass,
                                   const CrossEntropyOptions& options);

}  // namespace taper::ops
