#include "taper/autograd/tape/meta.h"

#include <algorithm>

#include "taper/autograd/tape/accumulate_grad.h"
#include "taper/autograd/tape/in_place.h"

namespace taper::detail {
namespace {

/// Whether a recorded operation has written to the view's base since the view got its history.
bool is_outdated(const TapeMeta& own) {
  if (!own.base.defined()) return false;
  const TapeMeta* base = meta(own.base);
  return base != nullptr && base->grad_fn && base->grad_fn_version > own.grad_fn_version;
}

/// Adds the gradients that arrive at x's present grad_fn to x.grad(), until x has another one.
void observe_gradient(const Tensor& x, const TapeMeta& own) {
  const std::weak_ptr<TensorImpl> self = x.impl();
  own.grad_fn->register_tensor_observer(
      own.output_index, [self, node = own.grad_fn.get()](const Tensor& grad) {
        const Tensor alive(self.lock());
        const TapeMeta* now = meta(alive);
        if (now != nullptr && now->grad_fn.get() == node && !is_outdated(*now)) add_to_grad(alive, grad);
      });
}

}  // namespace

TapeMeta* meta(const Tensor& x) {
  return x.defined() ? static_cast<TapeMeta*>(x.impl()->autograd.get()) : nullptr;
}

TapeMeta& ensure_meta(const Tensor& x) {
  auto& slot = x.impl()->autograd;
  if (!slot) slot = std::make_unique<TapeMeta>();
  return static_cast<TapeMeta&>(*slot);
}

TapeMeta* synced_meta(const Tensor& x) {
  TapeMeta* own = meta(x);
  if (own != nullptr && own->origin == ViewOrigin::kRecorded && is_outdated(*own)) regenerate_view_history(x);
  return own;
}

TapeMeta* followed_meta(const Tensor& x) {
  TapeMeta* own = synced_meta(x);
  TAPER_CHECK(own == nullptr || own->grad_fn == nullptr || !is_outdated(*own),
              "{} returned an input, or a view of a tensor, of shape {}; that tensor was written to in place "
              "since, so the derivative of {} no longer holds; clone() the result inside the function, or "
              "before the write",
              own->grad_fn->name(), x.shape(), own->grad_fn->name());
  return own;
}

Edge gradient_edge(const Tensor& x) {
  TapeMeta* own = followed_meta(x);
  if (own == nullptr) return {};
  if (own->grad_fn) return {own->grad_fn, own->output_index};
  if (!own->requires_grad) return {};
  const std::lock_guard lock(own->mutex);
  std::shared_ptr<Node> node = own->accumulator.lock();
  if (!node) {
    node = make_node<AccumulateGrad>(x);
    own->accumulator = node;
  }
  return {node, 0};
}

LeafHooks& leaf_hooks(const Tensor& leaf) {
  TapeMeta& own = ensure_meta(leaf);
  if (!own.leaf_hooks) own.leaf_hooks = std::make_unique<LeafHooks>();
  return *own.leaf_hooks;
}

void mark_view(const Tensor& parent, const Tensor& view, ViewOrigin origin) {
  if (view.impl()->is_inference) return;
  TapeMeta& own = ensure_meta(view);
  const TapeMeta* above = meta(parent);
  const bool is_view_of_view = above != nullptr && above->base.defined();
  own.base = is_view_of_view ? above->base : parent;
  own.origin = is_view_of_view ? std::max(above->origin, origin) : origin;
  own.grad_fn_version = view.version();
}

void set_history(const Tensor& x, std::shared_ptr<Node> node, int index) {
  TapeMeta& own = ensure_meta(x);
  own.grad_fn = std::move(node);
  own.output_index = index;
  own.grad_fn_version = x.version();
  if (own.retains_grad) observe_gradient(x, own);
}

void retain_grad(const Tensor& x) {
  TapeMeta& own = ensure_meta(x);
  if (std::exchange(own.retains_grad, true)) return;
  observe_gradient(x, own);
}

}  // namespace taper::detail
