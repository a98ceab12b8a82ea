#pragma once
// In training, sets a random share of the elements to 0 and scales the others up, so that the mean stays. In
// evaluation, returns its input. Srivastava et al. 2014. PyTorch's counterpart: torch.nn.Dropout.

#include "taper/core/generator.h"
#include "taper/nn/layer.h"

namespace taper {

class Dropout : public Layer {
 public:
  /// p: probability of a 0, in [0, 1]. The generator must outlive the module.
  explicit Dropout(double p = 0.5, Generator& generator = default_generator());

  Tensor forward(const Tensor& x) override;

  const double p;

 private:
  Generator& generator_;
};

}  // namespace taper
