#include "taper/ops/loss/soft_cross_entropy.h"

#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/loss/class_targets.h"
#include "taper/ops/loss/soft_cross_entropy_backend.h"
#include "taper/ops/op_call.h"
#include "taper/ops/reduce/reduce.h"

namespace taper::ops {
namespace {

void check_soft_arguments(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options) {
  check_floating_point("cross_entropy", logits);
  check_floating_point("cross_entropy", target);
  check_same_device("cross_entropy", logits, target, options.weight);
  TAPER_CHECK(logits.dim() >= 1,
              "cross_entropy: logits must be [N, C], [N, C, d1, ...] or [C], got a scalar");
  TAPER_CHECK(
      target.shape() == logits.shape(),
      "cross_entropy: class probabilities must have the shape of the logits, {}, got {}; class indices are "
      "i64, not {}",
      logits.shape(), target.shape(), target.dtype());
  const int64_t classes = logits.size(class_axis(logits));
  TAPER_CHECK(classes > 0, "cross_entropy: logits {} have no classes", logits.shape());
  check_class_weight("cross_entropy", "logits", logits, options.weight);
  TAPER_CHECK(options.ignore_index < 0,
              "cross_entropy: ignore_index is {}, but with class probabilities there is no index to ignore",
              options.ignore_index);
  TAPER_CHECK(options.label_smoothing >= 0 && options.label_smoothing <= 1,
              "cross_entropy: label_smoothing must be between 0 and 1, got {}", options.label_smoothing);
}

/// The arguments as the kernels take them.
struct SoftArguments {
  SoftArguments(const Tensor& x, const Tensor& t, const CrossEntropyOptions& from)
      : format(x.is_contiguous() || !x.is_contiguous(kChannelsLast) ? kContiguous : kChannelsLast),
        logits(contiguous(x, format)),
        target(contiguous(cast(t, compute_dtype(x.dtype())), format)),
        options(from) {
    if (options.weight.defined()) options.weight = contiguous(cast(options.weight, target.dtype()));
  }
  MemoryFormat format;
  Tensor logits, target;
  CrossEntropyOptions options;
};

}  // namespace

SoftCrossEntropy soft_cross_entropy(const Tensor& logits, const Tensor& target,
                                    const CrossEntropyOptions& options) {
  const OpCall call("cross_entropy", logits, target);
  check_soft_arguments(logits, target, options);
  const SoftArguments in(logits, target, options);
  Shape positions = logits.shape();
  positions.erase(class_axis(logits));
  const TensorOptions f64{.dtype = kFloat64, .device = logits.device()};
  SoftCrossEntropy result{.loss = {}, .log_sum_exp = empty(positions, f64), .mass = empty(positions, f64)};
  const Tensor losses = empty(positions, f64);
  const auto run = logits.device().is_cuda() ? soft_losses_gpu : soft_losses_cpu;
  run(in.logits, in.target, in.options, losses, result.log_sum_exp, result.mass);
  const Tensor reduced = options.reduction == Reduction::kNone   ? losses
                         : options.reduction == Reduction::kMean ? mean(losses)
                                                                 : sum(losses);
  result.loss = cast(reduced, logits.dtype());
  return result;
}

Tensor soft_cross_entropy_backward(const Tensor& grad, const Tensor& logits, const Tensor& target,
                                   const Tensor& log_sum_exp, const Tensor& mass,
                                   const CrossEntropyOptions& options) {
  const OpCall call("cross_entropy_backward", grad, logits, target);
  const SoftArguments in(logits, target, options);
  const Tensor result = empty_like(in.logits);
  const double divisor = options.reduction == Reduction::kMean ? double(mass.numel()) : 1;
  const auto run = logits.device().is_cuda() ? soft_gradient_gpu : soft_gradient_cpu;
  run(contiguous(cast(grad, logits.dtype())), in.logits, in.target, in.options, log_sum_exp, mass, divisor,
      result);
  return result;
}

}  // namespace taper::ops
