#pragma once
// The input, unchanged: takes the place of a layer that is not wanted. PyTorch's counterpart:
// torch.nn.Identity.

#include "taper/nn/module.h"

namespace taper {

class Identity : public Module {
 public:
  Tensor forward(const Tensor& x) override { return x; }
  std::string type_name() const override { return "Identity"; }
};

}  // namespace taper
