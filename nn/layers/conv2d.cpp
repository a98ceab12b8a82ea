#include "taper/nn/layers/conv2d.h"

#include "taper/autograd/derivatives/conv.h"
#include "taper/nn/init.h"
#include "taper/nn/layers/conv_runner.h"

namespace taper {

Conv2d::Conv2d(int64_t in_channels, int64_t out_channels, IntPair kernel_size, const Conv2dOptions& options_,
               Bias bias_)
    : options(options_) {
  const int64_t groups = options.groups;
  TAPER_CHECK(in_channels >= 1 && out_channels >= 1 && kernel_size.h >= 1 && kernel_size.w >= 1,
              "Conv2d: channels and kernel size must be at least 1, got {} -> {} channels, kernel {}",
              in_channels, out_channels, kernel_size);
  TAPER_CHECK(groups >= 1 && in_channels % groups == 0 && out_channels % groups == 0,
              "Conv2d: {} groups do not divide {} input and {} output channels", groups, in_channels,
              out_channels);
  const Shape shape = {out_channels, in_channels / groups, kernel_size.h, kernel_size.w};
  weight = register_parameter("weight", empty(shape, {.memory_format = kChannelsLast}));
  bias = register_parameter("bias", bias_ == kBias ? empty({out_channels}) : Tensor());
  init::default_linear_(weight, bias);
}

Tensor Conv2d::forward(const Tensor& x) {
  const Tensor y = ConvRunner::run_current(*this, nullptr, x);
  return y.defined() ? y : conv2d(x, weight, bias, options);
}

int64_t Conv2d::flops(const Tensor&, const Tensor& output) const {
  const int64_t products = weight.numel() / weight.size(0);
  return output.numel() * (2 * products - 1 + (bias.defined() ? 1 : 0));
}

}  // namespace taper
