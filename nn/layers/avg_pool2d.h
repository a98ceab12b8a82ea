#pragma once
// The mean under a moving window. PyTorch's counterpart: torch.nn.AvgPool2d.

#include "taper/nn/layer.h"
#include "taper/ops/pool/pool2d.h"

namespace taper {

class AvgPool2d : public Layer {
 public:
  /// AvgPool2d({.kernel = 2}); the stride is the kernel's size unless given.
  explicit AvgPool2d(const AvgPool2dOptions& options_) : options(options_) {}

  /// x: [N, C, H, W]. Returns [N, C, P, Q]; see ops::avg_pool2d.
  Tensor forward(const Tensor& x) override;

  const AvgPool2dOptions options;
};

}  // namespace taper
