#pragma once
// Custom functions: an operation of your own with its own derivative. PyTorch's counterpart:
// torch.autograd.Function, torch/csrc/autograd/custom_function.h.
//
//   struct Cube {
//     double scale = 1;                                         // plain members carry numbers to backward
//     Tensor forward(SaveForBackward& save, const Tensor& x) const {
//       save({x});
//       return x * x * x * scale;                               // not recorded: grad mode is off here
//     }
//     Grads backward(const Backward& bw) const {                // one gradient per tensor argument
//       return {bw.grad() * bw.saved(0) * bw.saved(0) * (3 * scale)};
//     }
//   };
//   Tensor y = apply(Cube{.scale = 2}, x);

#include <concepts>
#include <vector>

#include "taper/autograd/tape/grad_mode.h"
#include "taper/autograd/tape/tape.h"

namespace taper {

/// Given to forward(): call it once with the inputs or outputs that backward() needs.
class SaveForBackward {
 public:
  void operator()(std::vector<Tensor> tensors) { tensors_ = std::move(tensors); }
  const std::vector<Tensor>& tensors() const { return tensors_; }

 private:
  std::vector<Tensor> tensors_;
};

/// Runs function.forward(save, inputs...) and records function.backward. forward() returns a Tensor or a
/// std::vector<Tensor>; the result has the same type. The function object is copied into the graph. Where
/// forward() returns an input, a captured tensor or a view of one, the result is a view of that tensor, with
/// the function's derivative: a recorded in-place write into it throws Error, and so does its use after a
/// recorded write into that tensor.
template <class Function, std::same_as<Tensor>... Inputs>
auto apply(const Function& function, const Inputs&... inputs) {
  const std::vector<Tensor> arguments{inputs...};
  Tape tape("custom function", arguments);
  SaveForBackward save;
  constexpr bool has_one_output = std::same_as<decltype(function.forward(save, inputs...)), Tensor>;
  std::vector<Tensor> outputs;
  {
    const NoGradGuard no_grad;
    if constexpr (has_one_output)
      outputs.push_back(function.forward(save, inputs...));
    else
      outputs = function.forward(save, inputs...);
  }
  outputs = tape.record_function(std::move(outputs), arguments, save.tensors(),
                                 [function](const Backward& bw) { return function.backward(bw); });
  if constexpr (has_one_output)
    return outputs[0];
  else
    return outputs;
}

}  // namespace taper
