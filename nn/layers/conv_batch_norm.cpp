#include "taper/nn/layers/conv_batch_norm.h"

#include "taper/nn/layers/constant_conv.h"

namespace taper {

Tensor conv_batch_norm(Conv2d& conv, BatchNorm2d& norm, const Tensor& x, const BatchNormFusion& fusion) {
  const auto constant = conv.constant_form();
  // Hooks are promised the result of each module, and folded there is none of the convolution's.
  if (!constant || norm.is_training() || conv.has_hooks() || norm.has_hooks()) return norm(conv(x), fusion);
  return constant->run(conv, &norm, x, fusion);
}

}  // namespace taper
