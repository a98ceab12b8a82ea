#include "taper/nn/layers/avg_pool2d.h"

#include "taper/autograd/derivatives/pool.h"

namespace taper {

Tensor AvgPool2d::forward(const Tensor& x) {
  return avg_pool2d(x, options);
}

}  // namespace taper
