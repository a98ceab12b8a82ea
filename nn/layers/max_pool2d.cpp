#include "taper/nn/layers/max_pool2d.h"

#include "taper/autograd/derivatives/pool.h"

namespace taper {

Tensor MaxPool2d::forward(const Tensor& x) {
  return max_pool2d(x, options);
}

}  // namespace taper
