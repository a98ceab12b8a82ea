#include "taper/nn/layers/conv_batch_norm.h"  // spine 57 (docs/0-the-spine.md)

#include "taper/autograd/derivatives/conv.h"
#include "taper/nn/layers/conv_runner.h"

namespace taper {

Tensor conv_batch_norm(Conv2d& conv, BatchNorm2d& norm, const Tensor& x, const BatchNormFusion& fusion) {
  // A hook sees the result of its own module, and may replace it.
  if (conv.has_hooks() || norm.has_hooks()) return norm(conv(x), fusion);
  if (norm.uses_batch_statistics()) {
    if (conv.bias.defined()) return norm(conv(x), fusion);
    const auto [y, moments] = conv2d_moments(x, conv.weight, conv.options);
    return norm.forward(y, fusion, moments);
  }
  const Tensor y = ConvRunner::run_current(conv, &norm, x, fusion);
  return y.defined() ? y : norm(conv(x), fusion);
}

}  // namespace taper
