#include "taper/nn/layers/sequential.h"

namespace taper {

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  for (Layer* const layer : layers_) y = (*layer)(y);
  return y;
}

}  // namespace taper
