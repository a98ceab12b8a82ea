#pragma once
// What the tape keeps per tensor: whether it wants a gradient, the gradient, who computes it, and, for a
// view, whose memory it shows. PyTorch's counterpart: torch/csrc/autograd/variable.h (AutogradMeta,
// DifferentiableViewMeta).

#include <memory>
#include <mutex>

#include "taper/autograd/node.h"
#include "taper/core/tensor.h"

namespace taper::detail {

struct TapeMeta final : AutogradMeta {
  bool requires_grad = false;  ///< set by the user on a leaf
  Tensor grad;
  std::shared_ptr<Node> grad_fn;        ///< null for leaves
  int output_index = 0;                 ///< which output of grad_fn this tensor is
  std::weak_ptr<Node> accumulator;      ///< a leaf's AccumulateGrad node, alive while a graph uses it
  std::vector<Node::TensorHook> hooks;  ///< a leaf's; those of other tensors sit in grad_fn
  std::vector<std::function<void(const Tensor&)>> post_accumulate_hooks;
  std::mutex mutex;  ///< guards grad and accumulator: threads share parameters

  Tensor base;                   ///< for views: the tensor whose memory this shows
  uint32_t grad_fn_version = 0;  ///< for views: the storage version grad_fn belongs to
};

/// The tensor's metadata, null if it never met the tape.
TapeMeta* meta(const Tensor& x);
/// The tensor's metadata, made if missing.
TapeMeta& ensure_meta(const Tensor& x);
/// meta(x) after a view's grad_fn has caught up with in-place writes to its base.
TapeMeta* synced_meta(const Tensor& x);

/// Where x's gradient goes: (grad_fn, index), or a leaf's AccumulateGrad; null if none is wanted.
Edge gradient_edge(const Tensor& x);

/// Declares `view` a view of `parent` for the rules of in-place writes.
void mark_view(const Tensor& parent, const Tensor& view);

/// Makes `node`'s output `index` the history of x.
void set_history(const Tensor& x, std::shared_ptr<Node> node, int index);

}  // namespace taper::detail
