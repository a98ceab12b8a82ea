#include "taper/nn/layer.h"  // spine 55 (docs/0-the-spine.md)

namespace taper {

Tensor Layer::operator()(const Tensor& x) {
  if (!has_hooks()) return forward(x);
  return run_with_hooks(x, [this](const Tensor& input) { return forward(input); });
}

Tensor Layer::run_with_hooks(const Tensor& x, const std::function<Tensor(const Tensor&)>& forward_function) {
  Tensor input = x;
  pre_hooks_.for_each([&](const ForwardPreHook& hook) {
    if (const Tensor replacement = hook(*this, input); replacement.defined()) input = replacement;
  });
  Tensor output = forward_function(input);
  hooks_.for_each([&](const ForwardHook& hook) {
    if (const Tensor replacement = hook(*this, input, output); replacement.defined()) output = replacement;
  });
  return output;
}

HookHandle Layer::register_forward_pre_hook(ForwardPreHook hook) {
  return pre_hooks_.add(std::move(hook));
}
HookHandle Layer::register_forward_hook(ForwardHook hook) {
  return hooks_.add(std::move(hook));
}

}  // namespace taper
