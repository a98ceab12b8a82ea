#pragma once
// Activation checkpointing: trade time for memory. The forward pass of a segment keeps only its inputs; the
// backward pass runs the segment again to get what it needs. Chen et al., "Training Deep Nets with Sublinear
// Memory Cost" (2016). PyTorch's counterpart: torch/utils/checkpoint.py.

#include <functional>
#include <vector>

#include "taper/core/tensor.h"

namespace taper {

/// Returns segment(inputs), recorded as one node if an input or anything else in the segment requires a
/// gradient. In backward() the segment runs a second time. It then gets the random numbers that it drew the
/// first time, from whichever generators, so that dropout draws the same mask, and leaves the generators as
/// they are; batch norm updates its running statistics twice. Parameters the segment reaches by itself get
/// their gradients in backward(), and are not visible to grad(), which is refused. An input, a captured
/// tensor or a view of one that the segment returns is a view of it, as for apply() (function.h).
/// backward() throws Error if the second run draws other random numbers or returns another number of tensors.
std::vector<Tensor> checkpoint(std::function<std::vector<Tensor>(const std::vector<Tensor>&)> segment,
                               const std::vector<Tensor>& inputs);
/// As above, for a segment with one input and one output.
Tensor checkpoint(std::function<Tensor(const Tensor&)> segment, const Tensor& input);

}  // namespace taper
