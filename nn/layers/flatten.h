#pragma once
// Merges axes, by default all but the batch's: from images to vectors. PyTorch's counterpart:
// torch.nn.Flatten.

#include "taper/nn/layer.h"

namespace taper {

class Flatten : public Layer {
 public:
  /// Merges axes `first` to `last`. Negative axes count from the end.
  explicit Flatten(int64_t first = 1, int64_t last = -1) : first_(first), last_(last) {}
  Tensor forward(const Tensor& x) override { return x.flatten(first_, last_); }

 private:
  int64_t first_;
  int64_t last_;
};

}  // namespace taper
