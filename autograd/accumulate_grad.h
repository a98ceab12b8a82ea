#pragma once
// The node at a leaf: adds the arriving gradient to the leaf's grad(). PyTorch's counterpart:
// torch/csrc/autograd/functions/accumulate_grad.h.

#include "taper/autograd/node.h"

namespace taper {

class AccumulateGrad final : public Node {
 public:
  explicit AccumulateGrad(const Tensor& leaf);
  Grads apply(Grads grads) override;
  const Tensor& leaf() const { return leaf_; }

 private:
  Tensor leaf_;
};

}  // namespace taper
