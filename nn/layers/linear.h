#pragma once
// y = x W^T + b. PyTorch's counterpart: torch.nn.Linear.

#include "taper/nn/layer.h"
#include "taper/nn/layers/bias.h"

namespace taper {

class Linear : public Layer {
 public:
  /// weight: [out_features, in_features]. Weight and bias start as init::default_linear_ sets them.
  Linear(int64_t in_features, int64_t out_features, Bias bias = kBias);

  /// x: [..., in_features]. Returns [..., out_features].
  Tensor forward(const Tensor& x) override;
  int64_t flops(const Tensor& input, const Tensor& output) const override;

  Tensor weight;
  Tensor bias;  ///< [out_features], or undefined
};

}  // namespace taper
