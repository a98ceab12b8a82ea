#pragma once
// The mean of each cell of a grid laid over the image, so that images of any size give one shape. A grid of
// 1 x 1 is the global mean. PyTorch's counterpart: torch.nn.AdaptiveAvgPool2d.

#include "taper/nn/layer.h"
#include "taper/ops/int_pair.h"

namespace taper {

class AdaptiveAvgPool2d : public Layer {
 public:
  explicit AdaptiveAvgPool2d(IntPair output_size_) : output_size(output_size_) {}

  /// x: [N, C, H, W]. Returns [N, C, output_size.h, output_size.w].
  Tensor forward(const Tensor& x) override;

  const IntPair output_size;
};

}  // namespace taper
