#include "taper/nn/layers/sequential.h"

#include "taper/nn/layers/conv_batch_norm.h"

namespace taper {

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  for (size_t i = 0; i < modules_.size(); ++i) {
    auto* const conv = dynamic_cast<Conv2d*>(modules_[i]);
    auto* const norm =
        conv && i + 1 < modules_.size() ? dynamic_cast<BatchNorm2d*>(modules_[i + 1]) : nullptr;
    if (norm) {
      y = conv_batch_norm(*conv, *norm, y);
      ++i;
    } else {
      y = (*modules_[i])(y);
    }
  }
  return y;
}

}  // namespace taper
