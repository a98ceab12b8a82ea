#include "taper/autograd/meta.h"

#include "taper/autograd/accumulate_grad.h"
#include "taper/autograd/in_place.h"

namespace taper::detail {

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
  if (own != nullptr && own->base.defined() && own->grad_fn_version != x.version()) {
    own->grad_fn_version = x.version();
    if (own->base.requires_grad()) regenerate_view_history(x);
  }
  return own;
}

Edge gradient_edge(const Tensor& x) {
  TapeMeta* own = synced_meta(x);
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

void mark_view(const Tensor& parent, const Tensor& view) {
  if (view.impl()->is_inference) return;
  TapeMeta& own = ensure_meta(view);
  const TapeMeta* above = meta(parent);
  own.base = above != nullptr && above->base.defined() ? above->base : parent;
  own.grad_fn_version = view.version();
}

void set_history(const Tensor& x, std::shared_ptr<Node> node, int index) {
  TapeMeta& own = ensure_meta(x);
  own.grad_fn = std::move(node);
  own.output_index = index;
  own.grad_fn_version = x.version();
}

}  // namespace taper::detail
