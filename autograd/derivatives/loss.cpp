#include "taper/autograd/derivatives/loss.h"  // spine 48 (docs/0-the-spine.md)

#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/index.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/derivatives/softmax.h"
#include "taper/autograd/derivatives/views.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/ops/loss/class_targets.h"
#include "taper/ops/loss/soft_cross_entropy.h"

namespace taper {

static void list_options(const CrossEntropyOptions& options, OptionList& list) {
  constexpr const char* kReductions[] = {"none", "mean", "sum"};
  list.add("weight", options.weight);
  list.add("ignore_index", options.ignore_index);
  list.add("reduction", kReductions[size_t(options.reduction)]);
  list.add("label_smoothing", options.label_smoothing);
}

namespace {

Tensor reduce(const Tensor& losses, Reduction reduction) {
  if (reduction == Reduction::kNone) return losses;
  return reduction == Reduction::kMean ? mean(losses) : sum(losses);
}

void check_same_shape(std::string_view op, const Tensor& input, const Tensor& target) {
  TAPER_CHECK(input.shape() == target.shape(), "{}: input {} and target {} must have the same shape", op,
              input.shape(), target.shape());
}

/// Where targets count, the classes with ignored ones replaced by 0, and each position's weight (0 if
/// ignored).
struct Targets {
  Tensor counted, classes, weights;
};

Targets targets_of(const Tensor& target, const Tensor& class_weight, int64_t ignore_index, DType dtype) {
  const Tensor counted = ne(target, ignore_index);
  const Tensor classes = where(counted, target, zeros_like(target));
  Tensor weights = cast(counted, dtype);
  if (class_weight.defined()) {
    const Tensor each = index_select(cast(class_weight, dtype), 0, reshape(classes, {-1}));
    weights = mul(weights, reshape(each, target.shape()));
  }
  return {counted, classes, weights};
}

/// What cross_entropy saves, in this order, after `logits`.
struct Saved {
  Tensor target, weight, log_sum_exp, total_weight;
};

/// Returns the gradient with respect to `x` of scale * softmax(x, axis), whose own gradient is `grad`.
Tensor scaled_softmax_backward(const Tensor& grad, const Tensor& x, const Tensor& scale, int64_t axis) {
  const Tensor p = softmax(x, axis);
  return mul(mul(scale, p), sub(grad, sum(mul(grad, p), {axis}, true)));
}

/// cross_entropy's gradient as an operation of its own, so that it can be differentiated once more.
Tensor cross_entropy_backward(const Tensor& grad, const Tensor& logits, const Saved& saved,
                              const CrossEntropyOptions& options) {
  CrossEntropyOptions complete = options;
  complete.weight = saved.weight;
  Tape tape("cross_entropy_backward", {grad, logits}, {complete, {"target", saved.target}});
  const Tensor result = ops::cross_entropy_backward(grad, logits, saved.target, saved.log_sum_exp,
                                                    saved.total_weight, complete);
  return tape.record(
      result, {grad, logits, saved.target, saved.weight, saved.log_sum_exp, saved.total_weight},
      [options](const Backward& bw) -> Grads {
        const Tensor& gg = bw.grad();
        const Tensor g = bw.saved(0), x = bw.saved(1);
        const Saved again{bw.saved(2), bw.saved(3), bw.saved(4), bw.saved(5)};
        const int64_t axis = x.dim() == 1 ? 0 : 1;
        Tensor grad_g, grad_x;
        // The gradient is linear in g: gg's inner product with the gradient for g = 1.
        if (bw.needs(0)) {
          const Tensor products = mul(gg, cross_entropy_backward(ones_like(g), x, again, options));
          grad_g = options.reduction == Reduction::kNone ? sum(products, {axis}) : sum(products);
        }
        // Of g * (mass * p - constant), p alone depends on x: the Jacobian of softmax.
        if (bw.needs(1)) {
          const Targets targets = targets_of(again.target, again.weight, options.ignore_index, x.dtype());
          const Tensor class_total =
              again.weight.defined() ? cast(sum(again.weight), x.dtype())
                                     : full({}, x.shape()[axis], {.dtype = x.dtype(), .device = x.device()});
          const double share = options.label_smoothing / double(x.shape()[axis]);
          Tensor mass = add(mul(targets.weights, 1 - options.label_smoothing),
                            mul(mul(class_total, share), cast(targets.counted, x.dtype())));
          if (options.reduction == Reduction::kMean) mass = div(mass, cast(again.total_weight, x.dtype()));
          const Tensor scale = unsqueeze(mul(mass, g), axis);
          grad_x = scaled_softmax_backward(gg, x, scale, axis);
        }
        return {grad_g, grad_x};
      });
}

/// What soft_cross_entropy saves, in this order, after `logits`.
struct SoftSaved {
  Tensor target, weight, log_sum_exp, mass;
};

/// soft_cross_entropy's gradient as an operation of its own, so that it can be differentiated once more.
Tensor soft_cross_entropy_backward(const Tensor& grad, const Tensor& logits, const SoftSaved& saved,
                                   const CrossEntropyOptions& options) {
  CrossEntropyOptions complete = options;
  complete.weight = saved.weight;
  Tape tape("cross_entropy_backward", {grad, logits}, {complete, {"target", saved.target}});
  const Tensor result =
      ops::soft_cross_entropy_backward(grad, logits, saved.target, saved.log_sum_exp, saved.mass, complete);
  return tape.record(
      result, {grad, logits, saved.target, saved.weight, saved.log_sum_exp, saved.mass},
      [options](const Backward& bw) -> Grads {
        const Tensor& gg = bw.grad();
        const Tensor g = bw.saved(0), x = bw.saved(1);
        const SoftSaved again{bw.saved(2), bw.saved(3), bw.saved(4), bw.saved(5)};
        const int64_t axis = x.dim() == 1 ? 0 : 1;
        Tensor grad_g, grad_x;
        // As for class indices: linear in g, and of g * (mass * p - q) p alone depends on x.
        if (bw.needs(0)) {
          const Tensor products = mul(gg, soft_cross_entropy_backward(ones_like(g), x, again, options));
          grad_g = options.reduction == Reduction::kNone ? sum(products, {axis}) : sum(products);
        }
        if (bw.needs(1)) {
          const double divisor = options.reduction == Reduction::kMean ? double(again.mass.numel()) : 1;
          const Tensor scale = unsqueeze(mul(div(cast(again.mass, x.dtype()), divisor), g), axis);
          grad_x = scaled_softmax_backward(gg, x, scale, axis);
        }
        return {grad_g, grad_x};
      });
}

Tensor soft_cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options) {
  TAPER_CHECK(!GradMode::is_enabled() || !target.requires_grad(),
              "cross_entropy: class probabilities get no gradient; give target.detach()");
  Tape tape("cross_entropy", {logits}, {options, {"target", target}});
  const ops::SoftCrossEntropy forward = ops::soft_cross_entropy(logits, target, options);
  CrossEntropyOptions numbers = options;
  numbers.weight = {};  // formulas carry no tensors; it goes through `saved`
  return tape.record(forward.loss, {logits, target, options.weight, forward.log_sum_exp, forward.mass},
                     [numbers](const Backward& bw) -> Grads {
                       const SoftSaved saved{bw.saved(1), bw.saved(2), bw.saved(3), bw.saved(4)};
                       return {soft_cross_entropy_backward(bw.grad(), bw.saved(0), saved, numbers)};
                     });
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options) {
  if (const Autocast cast{"cross_entropy", {logits}}) return cross_entropy(cast(logits), target, options);
  if (is_floating_point(target.dtype())) return soft_cross_entropy(logits, target, options);
  Tape tape("cross_entropy", {logits}, {options, {"target", target}});
  const ops::CrossEntropy forward = ops::cross_entropy(logits, target, options);
  CrossEntropyOptions numbers = options;
  numbers.weight = {};  // formulas carry no tensors; it goes through `saved`
  return tape.record(forward.loss,
                     {logits, target, options.weight, forward.log_sum_exp, forward.total_weight},
                     [numbers](const Backward& bw) -> Grads {
                       const Saved saved{bw.saved(1), bw.saved(2), bw.saved(3), bw.saved(4)};
                       return {cross_entropy_backward(bw.grad(), bw.saved(0), saved, numbers)};
                     });
}

Tensor nll_loss(const Tensor& log_probs, const Tensor& target, const NllLossOptions& options) {
  if (const Autocast cast{"nll_loss", {log_probs}}) return nll_loss(cast(log_probs), target, options);
  ops::check_class_targets("nll_loss", "log_probs", log_probs, target, options.weight, options.ignore_index);
  const int64_t axis = log_probs.dim() == 1 ? 0 : 1;
  const Targets targets = targets_of(target, options.weight, options.ignore_index, log_probs.dtype());
  const Tensor picked = squeeze(gather(log_probs, axis, unsqueeze(targets.classes, axis)), axis);
  // An ignored position may hold -inf, which a product with 0 would turn into NaN.
  const Tensor losses =
      where(targets.counted, neg(mul(picked, targets.weights)), zeros_like(targets.weights));
  if (options.reduction == Reduction::kMean) return div(sum(losses), sum(targets.weights));
  return reduce(losses, options.reduction);
}

Tensor mse_loss(const Tensor& input, const Tensor& target, Reduction reduction) {
  if (const Autocast cast{"mse_loss", {input, target}}) return mse_loss(cast(input), cast(target), reduction);
  check_same_shape("mse_loss", input, target);
  return reduce(square(sub(input, target)), reduction);
}

// |x| * (1 - t) or |x| * t, whichever side of 0 x is, + log(1 + exp(-|x|)); the kinks at 0 cancel, so the
// derivative is written by hand. An infinite x on its target's side has no loss, not that of 0 * inf.
Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target, Reduction reduction) {
  if (const Autocast cast{"binary_cross_entropy_with_logits", {input, target}})
    return binary_cross_entropy_with_logits(cast(input), cast(target), reduction);
  check_same_shape("binary_cross_entropy_with_logits", input, target);
  Tape tape("binary_cross_entropy_with_logits", {input, target});
  const Tensor size = ops::abs(input);
  const Tensor distance = ops::where(ops::ge(input, 0), ops::sub(1, target), target);
  const Tensor linear = ops::where(ops::eq(distance, 0), 0, ops::mul(size, distance));
  const Tensor losses = ops::add(linear, ops::log1p(ops::exp(ops::neg(size))));
  const Tensor recorded = tape.record(losses, {input, target}, [](const Backward& bw) -> Grads {
    return {bw.needs(0) ? mul(bw.grad(), sub(sigmoid(bw.saved(0)), bw.saved(1))) : Tensor(),
            bw.needs(1) ? neg(mul(bw.grad(), bw.saved(0))) : Tensor()};
  });
  return reduce(recorded, reduction);
}

}  // namespace taper
