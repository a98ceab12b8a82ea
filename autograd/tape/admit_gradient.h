#pragma once
// The one door for gradients that come from outside the engine: seeds of backward(), results of formulas and
// of hooks. PyTorch's counterpart: validate_outputs in torch/csrc/autograd/engine.cpp.

#include <string>

#include "taper/autograd/tape/node.h"

namespace taper::detail {

/// admit_gradient() for one that differs; `source` as what its source() returns.
Tensor convert_gradient(const Tensor& grad, const OutputInfo& wanted, const std::string& source);

/// Returns `grad` as the gradient of a tensor such as `wanted` describes: a floating-point one is converted
/// to the tensor's dtype, one without dimensions is brought to its device. Throws Error for another shape,
/// another device, or a dtype that has no gradients; the message begins with source(), which says who made
/// it: "backward of mul: the formula returned".
template <class Source>
Tensor admit_gradient(Tensor grad, const OutputInfo& wanted, Source&& source) {
  if (grad.shape() == wanted.shape && grad.dtype() == wanted.dtype && grad.device() == wanted.device)
      [[likely]]
    return grad;
  return convert_gradient(grad, wanted, source());
}

}  // namespace taper::detail
