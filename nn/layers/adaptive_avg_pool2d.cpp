#include "taper/nn/layers/adaptive_avg_pool2d.h"

#include "taper/autograd/derivatives/pool.h"

namespace taper {

Tensor AdaptiveAvgPool2d::forward(const Tensor& x) {
  return adaptive_avg_pool2d(x, output_size);
}

}  // namespace taper
