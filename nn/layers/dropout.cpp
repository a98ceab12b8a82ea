#include "taper/nn/layers/dropout.h"

#include "taper/autograd/derivatives/random.h"

namespace taper {

Dropout::Dropout(double p_, Generator& generator) : p(p_), generator_(generator) {
  TAPER_CHECK(p >= 0 && p <= 1, "Dropout: p must be between 0 and 1, got {}", p);
}

Tensor Dropout::forward(const Tensor& x) {
  return dropout(x, p, is_training(), generator_);
}

}  // namespace taper
