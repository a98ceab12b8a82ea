#include "taper/ops/norm/batch_norm.h"  // spine 19 (docs/0-the-spine.md)

#include <cmath>

#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/norm/batch_norm_cpu.h"
#include "taper/ops/norm/batch_norm_gpu.h"
#include "taper/ops/op_call.h"

namespace taper::ops {
namespace {

void check_input(std::string_view op, const Tensor& x) {
  check_defined(op, "input", x);
  TAPER_CHECK(x.dim() == 2 || x.dim() == 4, "{}: input must be [N, C] or [N, C, H, W], got {}", op,
              x.shape());
  check_floating_point(op, x);
}

void check_per_channel(std::string_view op, std::string_view what, const Tensor& x, const Tensor& parameter) {
  if (!parameter.defined()) return;
  TAPER_CHECK(parameter.shape() == Shape{x.size(1)},
              "{}: {} must be [{}], one for each channel of the input {}, got {}", op, what, x.size(1),
              x.shape(), parameter.shape());
  const DType wide = compute_dtype(x.dtype());
  TAPER_CHECK(parameter.dtype() == x.dtype() || parameter.dtype() == wide,
              "{}: {} must be {}{} for an input of {}, got {}; convert it with .to()", op, what, wide,
              is_half(x.dtype()) ? fmt::format(" or {}", x.dtype()) : "", x.dtype(), parameter.dtype());
  check_same_device(op, x, parameter);
}

/// count: undefined for x's own.
void check_count(std::string_view op, const Tensor& x, const Tensor& count) {
  if (!count.defined()) return;
  TAPER_CHECK(count.dim() == 0 && count.dtype() == kFloat64, "{}: count must be f64 [], got {} {}", op,
              count.dtype(), count.shape());
  check_same_device(op, x, count);
}

void check_moments(std::string_view op, const Tensor& x, const BatchMoments& moments) {
  TAPER_CHECK(moments.mean.defined() == moments.var.defined(),
              "{}: the moments' mean and var must be given together", op);
  if (!moments.mean.defined()) return;
  for (const Tensor& moment : {moments.mean, moments.var}) {
    TAPER_CHECK(moment.shape() == Shape{x.size(1)} && moment.dtype() == compute_dtype(x.dtype()) &&
                    moment.is_contiguous(),
                "{}: the moments of an input {} {} must be contiguous {} [{}], got {} {}", op, x.dtype(),
                x.shape(), compute_dtype(x.dtype()), x.size(1), moment.dtype(), moment.shape());
    check_same_device(op, x, moment);
  }
  check_count(op, x, moments.count);
}

void check_like_input(std::string_view op, std::string_view what, const Tensor& x, const Tensor& other) {
  check_defined(op, what, other);
  TAPER_CHECK(other.shape() == x.shape() && other.dtype() == x.dtype(),
              "{}: {} must be as the input, {} {}, got {} {}", op, what, x.shape(), x.dtype(), other.shape(),
              other.dtype());
  check_same_device(op, x, other);
}

void check_relu_mask(std::string_view op, const Tensor& x, const Tensor& relu_mask) {
  check_defined(op, "relu_mask", relu_mask);
  const Shape shape = relu_mask_shape(x);
  TAPER_CHECK(
      relu_mask.shape() == shape && relu_mask.dtype() == kUInt8 && relu_mask.is_contiguous(),
      "{}: relu_mask must be the contiguous u8 {} that batch_norm_training made for the input {}, got "
      "{} {}",
      op, shape, x.shape(), relu_mask.dtype(), relu_mask.shape());
  check_same_device(op, x, relu_mask);
}

void check_backward(std::string_view op, const Tensor& grad, const Tensor& x, const Tensor& save_mean,
                    const Tensor& save_invstd) {
  check_input(op, x);
  check_like_input(op, "grad", x, grad);
  check_defined(op, "save_mean", save_mean);
  check_defined(op, "save_invstd", save_invstd);
  check_per_channel(op, "save_mean", x, save_mean);
  check_per_channel(op, "save_invstd", x, save_invstd);
}

}  // namespace

Shape relu_mask_shape(const Tensor& x) {
  const int64_t channels = x.size(1);
  return {channels == 0 ? 0 : x.numel() / channels, (channels + 7) / 8};
}

BatchMoments batch_moments(const Tensor& x) {
  constexpr std::string_view op = "batch_moments";
  const OpCall call(op, x);
  check_input(op, x);
  const auto make = [&] {
    return full({x.size(1)}, std::nan(""), {.dtype = compute_dtype(x.dtype()), .device = x.device()});
  };
  const BatchMoments moments = {make(), make()};
  if (x.numel() > 0) batch_moments_of(contiguous(x, x.dim() == 4 ? kChannelsLast : kContiguous), moments);
  return moments;
}

void batch_moments_of(const Tensor& x, const BatchMoments& to) {
  x.device().is_cuda() ? batch_moments_gpu(x, to) : batch_moments_cpu(x, to);
}

BatchNormOutput batch_norm_training(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                    const Tensor& running_mean, const Tensor& running_var,
                                    const BatchNormOptions& options, const Tensor& residual,
                                    bool for_backward, const BatchMoments& moments) {
  constexpr std::string_view op = "batch_norm";
  const OpCall call(op, x, weight, bias, residual);
  check_input(op, x);
  check_per_channel(op, "weight", x, weight);
  check_per_channel(op, "bias", x, bias);
  check_per_channel(op, "running_mean", x, running_mean);
  check_per_channel(op, "running_var", x, running_var);
  TAPER_CHECK(running_mean.defined() == running_var.defined(),
              "{}: running_mean and running_var must be given together", op);
  if (residual.defined()) check_like_input(op, "residual", x, residual);
  check_moments(op, x, moments);
  // Only where x has one value at most is the GPU waited for.
  const bool is_part = moments.count.defined();
  TAPER_CHECK(
      x.numel() > x.size(1) || x.size(1) == 0 || (is_part && item<double>(moments.count) > 1),
      "{}: training needs more than one value per channel, got input {}{}; use a larger batch or eval()", op,
      x.shape(), is_part ? " of a batch with one" : "");

  if (x.device().is_cuda()) {
    return batch_norm_training_gpu(x, weight, bias, running_mean, running_var, options, residual,
                                   for_backward, moments);
  }
  return batch_norm_training_cpu(x, weight, bias, running_mean, running_var, options, residual, for_backward,
                                 moments);
}

Tensor batch_norm_inference(const Tensor& x, const Tensor& weight, const Tensor& bias,
                            const Tensor& running_mean, const Tensor& running_var,
                            const BatchNormOptions& options, const Tensor& residual) {
  constexpr std::string_view op = "batch_norm";
  const OpCall call(op, x, weight, bias, residual);
  check_input(op, x);
  TAPER_CHECK(running_mean.defined() && running_var.defined(),
              "{}: inference needs running_mean and running_var", op);
  check_per_channel(op, "weight", x, weight);
  check_per_channel(op, "bias", x, bias);
  check_per_channel(op, "running_mean", x, running_mean);
  check_per_channel(op, "running_var", x, running_var);
  if (residual.defined()) check_like_input(op, "residual", x, residual);
  if (x.device().is_cuda()) {
    return batch_norm_inference_gpu(x, weight, bias, running_mean, running_var, options, residual);
  }
  return batch_norm_inference_cpu(x, weight, bias, running_mean, running_var, options, residual);
}

BatchNormGrads batch_norm_backward(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                   const Tensor& weight, const Tensor& save_mean, const Tensor& save_invstd,
                                   const BatchNormOptions& options, bool needs_residual) {
  constexpr std::string_view op = "batch_norm_backward";
  const OpCall call(op, grad, x, relu_mask, weight);
  check_backward(op, grad, x, save_mean, save_invstd);
  if (options.relu) check_relu_mask(op, x, relu_mask);
  check_per_channel(op, "weight", x, weight);

  if (x.device().is_cuda()) {
    return batch_norm_backward_gpu(grad, x, relu_mask, weight, save_mean, save_invstd, options,
                                   needs_residual);
  }
  return batch_norm_backward_cpu(grad, x, relu_mask, weight, save_mean, save_invstd, options, needs_residual);
}

BatchNormGrads batch_norm_backward_sums(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                        const Tensor& save_mean, const Tensor& save_invstd,
                                        const BatchNormOptions& options, bool needs_residual) {
  constexpr std::string_view op = "batch_norm_backward_sums";
  const OpCall call(op, grad, x, relu_mask);
  check_backward(op, grad, x, save_mean, save_invstd);
  if (options.relu) check_relu_mask(op, x, relu_mask);

  if (x.device().is_cuda()) {
    return batch_norm_backward_sums_gpu(grad, x, relu_mask, save_mean, save_invstd, options, needs_residual);
  }
  return batch_norm_backward_sums_cpu(grad, x, relu_mask, save_mean, save_invstd, options, needs_residual);
}

Tensor batch_norm_backward_input(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                 const Tensor& weight, const Tensor& save_mean, const Tensor& save_invstd,
                                 const Tensor& grad_weight, const Tensor& grad_bias, const Tensor& count) {
  constexpr std::string_view op = "batch_norm_backward_input";
  const OpCall call(op, grad, x, relu_mask, weight);
  check_backward(op, grad, x, save_mean, save_invstd);
  if (relu_mask.defined()) check_relu_mask(op, x, relu_mask);
  check_per_channel(op, "weight", x, weight);
  for (const Tensor& sums : {grad_weight, grad_bias}) {
    check_defined(op, "sums", sums);
    check_per_channel(op, "sums", x, sums);
  }
  check_count(op, x, count);

  if (x.device().is_cuda()) {
    return batch_norm_backward_input_gpu(grad, x, relu_mask, weight, save_mean, save_invstd, grad_weight,
                                         grad_bias, count);
  }
  return batch_norm_backward_input_cpu(grad, x, relu_mask, weight, save_mean, save_invstd, grad_weight,
                                       grad_bias, count);
}

Tensor unpack_relu_mask(const Tensor& relu_mask, const Tensor& x) {
  constexpr std::string_view op = "unpack_relu_mask";
  const OpCall call(op, relu_mask, x);
  check_input(op, x);
  check_relu_mask(op, x, relu_mask);
  return x.device().is_cuda() ? unpack_relu_mask_gpu(relu_mask, x) : unpack_relu_mask_cpu(relu_mask, x);
}

}  // namespace taper::ops
