#pragma once
// Losses. PyTorch's counterparts: ATen/native/Loss.cpp and LossNLL.cpp.

#include "taper/core/tensor.h"
#include "taper/ops/loss/cross_entropy.h"

namespace taper {

/// Softmax cross entropy of logits [N, C], [N, C, d1, ...] or [C] with a target: i64 class indices [N], [N, d1, ...]
/// or [], see ops/loss/cross_entropy.h; or class probabilities in floats of the logits' shape, to which no gradient
/// flows, see ops/loss/soft_cross_entropy.h. One op in each direction; its gradient can itself be differentiated.
/// (torch.nn.functional.cross_entropy)
Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options = {});

struct NllLossOptions {
  Tensor weight = {};           ///< [C], a factor per class; undefined: all 1
  int64_t ignore_index = -100;  ///< positions with this target count nowhere
  Reduction reduction = Reduction::kMean;
};

/// -weight[target] * log_probs at the target; the mean divides by the sum of weight[target]. Shapes and
/// errors as cross_entropy. (torch.nn.functional.nll_loss)
Tensor nll_loss(const Tensor& log_probs, const Tensor& target, const NllLossOptions& options = {});

/// (input - target)^2. Throws Error unless the shapes are equal. (torch.nn.functional.mse_loss)
Tensor mse_loss(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::kMean);

/// -target * log(p) - (1 - target) * log(1 - p) with p = sigmoid(input), without overflow. target:
/// probabilities of input's shape. Throws Error unless the shapes are equal.
/// (torch.nn.functional.binary_cross_entropy_with_logits)
Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target,
                                        Reduction reduction = Reduction::kMean);

}  // namespace taper
