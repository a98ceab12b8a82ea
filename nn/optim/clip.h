#pragma once
// Limits on gradients, between backward() and the optimiser's step. PyTorch's counterpart:
// torch/nn/utils/clip_grad.py.

#include <vector>

#include "taper/nn/optim/optimizer.h"

namespace taper {

/// Scales all gradients by min(1, max_norm / (norm + 1e-6)), where norm is the norm of all gradients
/// together. Returns norm, a scalar. A parameter without a gradient counts as 0. Throws Error for a negative
/// max_norm. (torch.nn.utils.clip_grad_norm_)
Tensor clip_grad_norm(const std::vector<Tensor>& parameters, double max_norm);

/// The same for an optimiser's parameters. Where they are sharded, the norm is that of all ranks' shards together, and all
/// ranks must call this.
Tensor clip_grad_norm(const Optimizer& optimizer, double max_norm);

/// Limits every element of every gradient to [-limit, limit]. Throws Error for a negative limit.
/// (torch.nn.utils.clip_grad_value_)
void clip_grad_value(const std::vector<Tensor>& parameters, double limit);

}  // namespace taper
