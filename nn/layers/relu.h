#pragma once
// max(x, 0). PyTorch's counterpart: torch.nn.ReLU.

#include "taper/nn/module.h"

namespace taper {

class ReLU : public Module {
 public:
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "ReLU"; }
};

}  // namespace taper
