#pragma once
// max(x, 0). PyTorch's counterpart: torch.nn.ReLU.

#include "taper/nn/layer.h"

namespace taper {

class ReLU : public Layer {
 public:
  Tensor forward(const Tensor& x) override;
};

}  // namespace taper
