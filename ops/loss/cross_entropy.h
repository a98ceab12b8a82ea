#pragma once
// Softmax cross entropy with class indices, as one op. The forward pass reads the logits once and keeps one
// log-sum-exp per position. The backward pass recomputes the probabilities from it while it writes the
// gradient. PyTorch's counterpart: ATen/native/LossNLL.cpp, which goes through a stored log-softmax.

#include "taper/core/tensor.h"
#include "taper/ops/loss/reduction.h"

namespace taper {

struct CrossEntropyOptions {
  Tensor weight = {};           ///< [C], a factor per class; undefined: all 1
  int64_t ignore_index = -100;  ///< positions with this target do not count
  Reduction reduction = Reduction::kMean;
  double label_smoothing = 0;  ///< in [0, 1]: this share of each target is spread over all classes
};

}  // namespace taper

namespace taper::ops {

/// What cross_entropy returns: the loss, and what its backward needs.
struct CrossEntropy {
  Tensor loss;          ///< a scalar, or [N, d1, ...] for Reduction::kNone; the logits' dtype
  Tensor log_sum_exp;   ///< [N, d1, ...] f64
  Tensor total_weight;  ///< scalar f64: the sum of the targets' class weights, what the mean divides by
};

/// Returns the loss. With p = softmax(logits) over axis 1, w the class weights and s the label smoothing,
/// each position of target class y loses -(1 - s) * w[y] * log p[y] - s/C * sum_c(w[c] * log p[c]). The mean
/// divides by the sum of w[y] over positions that are not ignored.
///
/// logits: [N, C], [N, C, d1, ...] or [C], float. target: [N], [N, d1, ...] or [], i64, values 0..C-1 or
/// ignore_index. Throws Error naming the first target out of range. On the GPU the kernel finds it and ends
/// the device's work, as a failed device assertion does. (torch.nn.functional.cross_entropy)
CrossEntropy cross_entropy(const Tensor& logits, const Tensor& target,
                           const CrossEntropyOptions& options = {});

/// Returns the gradient of the logits, in their shape and dtype, given the gradient of the loss.
Tensor cross_entropy_backward(const Tensor& grad, const Tensor& logits, const Tensor& target,
                              const Tensor& log_sum_exp, const Tensor& total_weight,
                              const CrossEntropyOptions& options);

}  // namespace taper::ops
