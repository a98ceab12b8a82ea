#include "taper/ops/loss/cross_entropy.h"  // spine 22 (docs/0-the-spine.md)

#include "taper/ops/copy/copy.h"
#include "taper/ops/loss/class_targets.h"
#include "taper/ops/loss/cross_entropy_cpu.h"
#include "taper/ops/loss/cross_entropy_gpu.h"
#include "taper/ops/op_call.h"

namespace taper::ops {
namespace {

/// Copies layouts other than the two image formats once.
Tensor prepare_logits(const Tensor& logits) {
  const bool in_order = logits.is_contiguous() || logits.is_contiguous(kChannelsLast);
  return in_order ? logits : contiguous(logits);
}

CrossEntropyOptions prepare_options(CrossEntropyOptions options, DType dtype) {
  if (options.weight.defined()) options.weight = contiguous(cast(options.weight, compute_dtype(dtype)));
  return options;
}

}  // namespace

CrossEntropy cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options) {
  const OpCall call("cross_entropy", logits, target);
  check_class_targets("cross_entropy", "logits", logits, target, options.weight, options.ignore_index);
  TAPER_CHECK(options.label_smoothing >= 0 && options.label_smoothing <= 1,
              "cross_entropy: label_smoothing must be between 0 and 1, got {}", options.label_smoothing);
  const Tensor x = prepare_logits(logits);
  const Tensor y = contiguous(target);
  const Device device = logits.device();
  const bool per_position = options.reduction == Reduction::kNone;
  CrossEntropy result{
      .loss = empty(per_position ? target.shape() : Shape{}, {.dtype = x.dtype(), .device = device}),
      .log_sum_exp = empty(target.shape(), {.dtype = kFloat64, .device = device}),
      .total_weight = empty({}, {.dtype = kFloat64, .device = device})};
  const auto run = device.is_cuda() ? cross_entropy_gpu : cross_entropy_cpu;
  run(x, y, prepare_options(options, x.dtype()), result);
  return result;
}

Tensor cross_entropy_backward(const Tensor& grad, const Tensor& logits, const Tensor& target,
                              const Tensor& log_sum_exp, const Tensor& total_weight,
                              const CrossEntropyOptions& options) {
  const OpCall call("cross_entropy_backward", grad, logits, target);
  const Tensor x = prepare_logits(logits);
  const Tensor result = empty_like(x);
  const auto run = x.device().is_cuda() ? cross_entropy_backward_gpu : cross_entropy_backward_cpu;
  run(contiguous(cast(grad, x.dtype())), x, contiguous(target), log_sum_exp, total_weight,
      prepare_options(options, x.dtype()), result);
  return result;
}

}  // namespace taper::ops
