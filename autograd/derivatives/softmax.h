#pragma once
// Differentiable softmax. PyTorch's counterpart: the softmax entries of derivatives.yaml.

#include "taper/core/tensor.h"

namespace taper {

/// exp(x) / sum(exp(x)) along `axis`; see ops/softmax/softmax.h.
Tensor softmax(const Tensor& x, int64_t axis);
/// x - log(sum(exp(x))) along `axis`.
Tensor log_softmax(const Tensor& x, int64_t axis);

}  // namespace taper
