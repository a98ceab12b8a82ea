#include "taper/autograd/accumulate_grad.h"

#include "taper/autograd/elementwise.h"
#include "taper/autograd/grad_mode.h"
#include "taper/autograd/meta.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/elementwise/elementwise.h"

namespace taper {
namespace {

/// True when nobody else holds the gradient or its memory, and it lies in memory as the leaf does: then the
/// leaf may keep it without a copy.
bool can_take(const Tensor& grad, const Tensor& leaf) {
  return grad.impl().use_count() == 1 && grad.storage().use_count() == 1 &&
         grad.strides() == leaf.strides() && leaf.is_dense();
}

}  // namespace

AccumulateGrad::AccumulateGrad(const Tensor& leaf) : Node("AccumulateGrad"), leaf_(leaf) {
  sequence_ = UINT64_MAX;  // run as soon as ready: frees the gradient buffer early
  add_output(leaf);
}

Grads AccumulateGrad::apply(Grads grads) {
  detail::TapeMeta& meta = detail::ensure_meta(leaf_);
  Tensor grad = std::move(grads[0]);
  for (const TensorHook& hook : meta.hooks) {
    if (const Tensor replacement = hook(grad); replacement.defined()) grad = replacement;
  }
  {
    const std::lock_guard lock(meta.mutex);
    if (GradMode::is_enabled()) {  // create_graph: the gradient itself has a history
      meta.grad = meta.grad.defined() ? add(meta.grad, grad) : grad;
    } else if (meta.grad.defined()) {
      ops::add_(meta.grad, grad);
    } else if (can_take(grad, leaf_)) {
      meta.grad = std::move(grad);
    } else {
      meta.grad = empty_like(leaf_);
      ops::copy_(meta.grad, grad);
    }
  }
  for (const auto& hook : meta.post_accumulate_hooks) hook(leaf_);
  return {};
}

}  // namespace taper
