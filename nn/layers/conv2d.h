#pragma once
// 2-d convolution. PyTorch's counterpart: torch.nn.Conv2d.

#include "taper/nn/layer.h"
#include "taper/nn/layers/bias.h"
#include "taper/ops/conv/conv2d.h"

namespace taper {

class Conv2d : public Layer {
 public:
  /// Conv2d(3, 64, 7, {.stride = 2, .padding = 3}, kNoBias). weight: [out_channels, in_channels / groups, R,
  /// S], channels_last in memory so that the convolution never converts it. Weight and bias start as
  /// init::default_linear_ sets them. Throws Error if the groups do not divide both channel counts.
  Conv2d(int64_t in_channels, int64_t out_channels, IntPair kernel_size, const Conv2dOptions& options = {},
         Bias bias = kBias);

  /// x: [N, in_channels, H, W]. Returns [N, out_channels, P, Q] as ops::conv2d does.
  Tensor forward(const Tensor& x) override;
  int64_t flops(const Tensor& input, const Tensor& output) const override;

  const Conv2dOptions options;
  Tensor weight;
  Tensor bias;  ///< [out_channels], or undefined
};

}  // namespace taper
