#pragma once
// Random tensors and dropout; see ops/random/random.h. PyTorch's counterpart: torch.nn.functional.dropout.

#include "taper/core/tensor.h"
#include "taper/ops/random/random.h"

namespace taper {

/// In training, zeroes each element with probability p and divides the others by 1 - p; otherwise x itself.
/// Throws Error unless 0 <= p <= 1.
Tensor dropout(const Tensor& x, double p = 0.5, bool training = true,
               Generator& generator = default_generator());

// Without derivative.
using ops::bernoulli_;
using ops::normal_;
using ops::rand;
using ops::randint;
using ops::randint_;
using ops::randn;
using ops::randperm;
using ops::uniform_;

}  // namespace taper
