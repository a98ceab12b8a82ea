#pragma once
// The node at a leaf: adds the arriving gradient to the leaf's grad(). PyTorch's counterpart:
// torch/csrc/autograd/functions/accumulate_grad.h.

#include "taper/autograd/tape/node.h"

namespace taper {

class AccumulateGrad final : public Node {
 public:
  explicit AccumulateGrad(const Tensor& leaf);
  Grads apply(Grads grads) override;
  /// The leaf's own hooks, which outlive this node.
  void run_tensor_hooks(Grads& grads) const override;
  const Tensor& leaf() const { return leaf_; }

 private:
  Tensor leaf_;
};

namespace detail {
/// Adds `grad` to x.grad(). What x.grad() holds afterwards shares memory with nobody: the first gradient is
/// copied unless nobody else holds it.
void add_to_grad(const Tensor& x, Tensor grad);
}  // namespace detail

}  // namespace taper
