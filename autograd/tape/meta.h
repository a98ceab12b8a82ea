#pragma once  // spine 41 (docs/0-the-spine.md)
// What the tape keeps per tensor: whether it wants a gradient, the gradient, who computes it, and, for a
// view, whose memory it shows. PyTorch's counterpart: torch/csrc/autograd/variable.h (AutogradMeta,
// DifferentiableViewMeta).

#include <memory>
#include <mutex>

#include "taper/autograd/tape/node.h"
#include "taper/autograd/tape/weight_copy.h"
#include "taper/core/tensor.h"

namespace taper::detail {

/// Who made a view, and so what an in-place write may do to its history.
enum class ViewOrigin : uint8_t {
  kRecorded,    ///< a view function: the tape can make the history anew from the base's
  kUnrecorded,  ///< a view function under no_grad: a constant, whatever becomes of its base
  kFunction     ///< a function that is not Taper's returned it, with a derivative that nothing can make anew
};

/// The hooks of a leaf; those of other tensors sit in grad_fn.
struct LeafHooks {
  Hooks<Node::TensorHook> on_gradient;
  Hooks<std::function<void(const Tensor& leaf)>> after_accumulation;
};

struct TapeMeta final : AutogradMeta {
  bool requires_grad = false;                 ///< set by the user on a leaf
  bool retains_grad = false;                  ///< not a leaf, and grad is kept all the same
  ViewOrigin origin = ViewOrigin::kRecorded;  ///< for views
  Tensor grad;
  std::shared_ptr<Node> grad_fn;            ///< null for leaves
  int output_index = 0;                     ///< which output of grad_fn this tensor is
  std::weak_ptr<Node> accumulator;          ///< a leaf's AccumulateGrad node, alive while a graph uses it
  std::unique_ptr<LeafHooks> leaf_hooks;    ///< null for most tensors
  std::unique_ptr<WeightCopy> weight_copy;  ///< a parameter's, under autocast
  std::mutex mutex;  ///< guards grad, accumulator and weight_copy: threads share parameters

  Tensor base;                   ///< for views: the tensor whose memory this shows
  uint32_t grad_fn_version = 0;  ///< for views: the storage version grad_fn belongs to
};

/// The tensor's metadata, null if it never met the tape.
TapeMeta* meta(const Tensor& x);
/// The tensor's metadata, made if missing.
TapeMeta& ensure_meta(const Tensor& x);
/// meta(x) after a view's grad_fn has caught up with recorded writes to its base.
TapeMeta* synced_meta(const Tensor& x);
/// synced_meta(x) for one who follows grad_fn. Throws Error for what a function has returned as a view, if
/// the base was written to since: the function's derivative is not that of the tensor as it now is.
TapeMeta* followed_meta(const Tensor& x);

/// Where x's gradient goes: (grad_fn, index), or a leaf's AccumulateGrad; null if none is wanted.
Edge gradient_edge(const Tensor& x);

/// The hooks of a leaf, made if missing.
LeafHooks& leaf_hooks(const Tensor& leaf);

/// Declares `view` a view of `parent` for the rules of in-place writes. A view of a view has the worse
/// origin.
void mark_view(const Tensor& parent, const Tensor& view, ViewOrigin origin);

/// Makes `node`'s output `index` the history of x, which must be a tensor of the operation's own, or the one
/// it wrote to. A gradient that x retains is from now on the one that arrives there.
void set_history(const Tensor& x, std::shared_ptr<Node> node, int index);

/// From now on x, not a leaf, adds up its gradient in grad().
void retain_grad(const Tensor& x);

}  // namespace taper::detail
