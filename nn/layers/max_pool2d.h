#pragma once
// The largest value under a moving window. PyTorch's counterpart: torch.nn.MaxPool2d.

#include "taper/nn/layer.h"
#include "taper/ops/pool/pool2d.h"

namespace taper {

class MaxPool2d : public Layer {
 public:
  /// MaxPool2d({.kernel = 3, .stride = 2, .padding = 1}).
  explicit MaxPool2d(const MaxPool2dOptions& options_) : options(options_) {}

  /// x: [N, C, H, W]. Returns [N, C, P, Q]; see ops::max_pool2d.
  Tensor forward(const Tensor& x) override;

  const MaxPool2dOptions options;
};

}  // namespace taper
