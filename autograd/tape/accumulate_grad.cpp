#include "taper/autograd/tape/accumulate_grad.h"  // spine 52 (docs/0-the-spine.md)

#include "taper/autograd/tape/grad_mode.h"
#include "taper/autograd/tape/meta.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/elementwise/elementwise.h"

namespace taper {
namespace {

/// True when nobody else holds the gradient or its memory, and it lies in memory as x does: then x may keep
/// it without a copy.
bool can_take(const Tensor& grad, const Tensor& x) {
  return grad.impl().use_count() == 1 && grad.storage().use_count() == 1 && grad.strides() == x.strides() &&
         x.is_dense();
}

}  // namespace

AccumulateGrad::AccumulateGrad(const Tensor& leaf) : Node("AccumulateGrad"), leaf_(leaf) {
  sequence_ = UINT64_MAX;  // run as soon as ready: frees the gradient buffer early
  add_output(leaf);
}

void AccumulateGrad::run_tensor_hooks(Grads& grads) const {
  if (const auto& hooks = detail::ensure_meta(leaf_).leaf_hooks)
    hooks->on_gradient.for_each([&](const TensorHook& hook) { run_tensor_hook(hook, 0, grads); });
}

Grads AccumulateGrad::apply(Grads grads) {
  detail::add_to_grad(leaf_, std::move(grads[0]));
  if (const auto& hooks = detail::ensure_meta(leaf_).leaf_hooks)
    hooks->after_accumulation.for_each([&](const auto& hook) { hook(leaf_); });
  return {};
}

void detail::add_to_grad(const Tensor& x, Tensor grad) {
  TapeMeta& meta = ensure_meta(x);
  const std::lock_guard lock(meta.mutex);
  if (!meta.grad.defined()) {
    if (!can_take(grad, x)) {
      const Tensor copy = empty_like(x);
      if (GradMode::is_enabled())
        copy.copy_(grad);  // create_graph: the gradient itself has a history
      else
        ops::copy_(copy, grad);
      grad = copy;
    }
    meta.grad = std::move(grad);
  } else if (GradMode::is_enabled()) {
    meta.grad = meta.grad.add(grad);
  } else {
    ops::add_(meta.grad, grad);
  }
}

}  // namespace taper
