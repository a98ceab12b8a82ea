#include "taper/nn/layers/linear.h"  // spine 58 (docs/0-the-spine.md)

#include "taper/autograd/derivatives/matmul.h"
#include "taper/nn/init.h"

namespace taper {

Linear::Linear(int64_t in_features, int64_t out_features, Bias bias_) {
  TAPER_CHECK(in_features >= 1 && out_features >= 1,
              "Linear: needs at least 1 input and output, got {} and {}", in_features, out_features);
  weight = register_parameter("weight", empty({out_features, in_features}));
  bias = register_parameter("bias", bias_ == kBias ? empty({out_features}) : Tensor());
  init::default_linear_(weight, bias);
}

Tensor Linear::forward(const Tensor& x) {
  return linear(x, weight, bias);
}

int64_t Linear::flops(const Tensor& input, const Tensor& output) const {
  return output.numel() * (2 * input.size(-1) - 1 + (bias.defined() ? 1 : 0));
}

}  // namespace taper
