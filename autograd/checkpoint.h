#pragma once
// Activation checkpointing: trade time for memory. The forward pass of a segment keeps only its inputs; the
// backward pass runs the segment again to get what it needs. Chen et al., "Training Deep Nets with Sublinear
// Memory Cost" (2016). PyTorch's counterpart: torch/utils/checkpoint.py.

#include <functional>
#include <vector>

#include "taper/core/tensor.h"

namespace taper {

/// Returns segment(inputs), recorded as one node. In backward() the segment runs a second time with the
/// random state it had the first time, so dropout draws the same mask; batch norm updates its running
/// statistics twice. Parameters the segment reaches by itself get their gradients in backward(), and are not
/// visible to grad(), which is refused.
std::vector<Tensor> checkpoint(std::function<std::vector<Tensor>(const std::vector<Tensor>&)> segment,
                               const std::vector<Tensor>& inputs);
/// The same for one tensor in and out.
Tensor checkpoint(std::function<Tensor(const Tensor&)> segment, const Tensor& input);

}  // namespace taper
