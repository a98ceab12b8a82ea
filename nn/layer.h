#pragma once  // spine 54 (docs/0-the-spine.md)
// Layer: a module that turns one tensor into one tensor. Layers run between hooks, count their arithmetic for
// summaries, and can stand in a Sequential.
//
//   struct Perceptron : Layer {
//     Linear& hidden = register_module<Linear>("hidden", 64, 32);
//     Linear& output = register_module<Linear>("output", 32, 10);
//     Tensor forward(const Tensor& x) override { return output(relu(hidden(x))); }
//   };
//
// In PyTorch every module has forward() and hooks: torch/nn/modules/module.py.

#include <functional>

#include "taper/nn/hooks.h"
#include "taper/nn/module.h"

namespace taper {

class Layer : public Module {
 public:
  /// Returns forward(x), between the hooks.
  Tensor operator()(const Tensor& x);
  virtual Tensor forward(const Tensor& x) = 0;

  /// `hook` runs before forward(). A defined tensor that it returns replaces the input.
  HookHandle register_forward_pre_hook(ForwardPreHook hook);
  /// `hook` runs after forward(). A defined tensor that it returns replaces the output.
  HookHandle register_forward_hook(ForwardHook hook);
  /// Returns whether a hook expects to see this layer's own input or output.
  bool has_hooks() const { return !pre_hooks_.empty() || !hooks_.empty(); }

  /// Returns the additions and multiplications of forward() without those of its parts. A multiply-add counts
  /// as two.
  virtual int64_t flops(const Tensor& /*input*/, const Tensor& /*output*/) const { return 0; }

 protected:
  /// Runs the hooks around another way to compute the layer: run_with_hooks(x, [&](const Tensor& in) {...}).
  Tensor run_with_hooks(const Tensor& x, const std::function<Tensor(const Tensor&)>& forward_function);

 private:
  HookList<ForwardPreHook> pre_hooks_;
  HookList<ForwardHook> hooks_;
};

}  // namespace taper
