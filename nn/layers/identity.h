#pragma once
// Returns its input: stands in for a layer that is not wanted. PyTorch's counterpart:
// torch.nn.Identity.

#include "taper/nn/layer.h"

namespace taper {

class Identity : public Layer {
 public:
  Tensor forward(const Tensor& x) override { return x; }
};

}  // namespace taper
