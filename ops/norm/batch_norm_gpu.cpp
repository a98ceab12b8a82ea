#include "taper/ops/norm/batch_norm_gpu.h"

#include "taper/core/gpu/runtime.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/copy/copy.h"

namespace taper::ops {
namespace {

Tensor empty_row(const Tensor& x) {
  return empty({x.size(1)}, {.dtype = compute_dtype(x.dtype()), .device = x.device()});
}

/// Room for what the first pass of backward writes: parameters' gradients, and the residual's if asked for.
BatchNormGrads empty_sums(const Tensor& grad, const Tensor& x, bool relu, bool needs_residual) {
  return {{}, empty_row(x), empty_row(x), !needs_residual ? Tensor() : relu ? empty_columns(x) : grad};
}

/// relu_mask: undefined without a ReLU.
BatchNormBackwardCall backward_call(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                    const Tensor& weight, const Tensor& save_mean, const Tensor& save_invstd,
                                    const BatchNormGrads& to) {
  const auto wide_row = [&](const Tensor& row) { return contiguous(cast(row, compute_dtype(x.dtype()))); };
  return {.grad = as_columns(grad),
          .x = as_columns(x),
          .relu_mask = relu_mask,
          .weight = weight,
          .save_mean = wide_row(save_mean),
          .save_invstd = wide_row(save_invstd),
          .grad_x = to.x,
          .grad_weight = to.weight,
          .grad_bias = to.bias,
          .grad_residual = relu_mask.defined() ? to.residual : Tensor()};
}

}  // namespace

Tensor as_columns(const Tensor& x) {
  return contiguous(x, x.dim() == 4 ? kChannelsLast : kContiguous);
}

Tensor empty_columns(const Tensor& like) {
  return empty(like.shape(), {.dtype = like.dtype(),
                              .device = like.device(),
                              .memory_format = like.dim() == 4 ? kChannelsLast : kContiguous});
}

BatchNormOutput batch_norm_training_gpu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                        const Tensor& running_mean, const Tensor& running_var,
                                        const BatchNormOptions& options, const Tensor& residual,
                                        bool for_backward, const BatchMoments& moments) {
  const gpu::DeviceGuard guard(x.device().index);
  const BatchNormOutput out = {empty_columns(x), empty_row(x), empty_row(x),
                               for_backward && options.relu
                                   ? empty(relu_mask_shape(x), {.dtype = kUInt8, .device = x.device()})
                                   : Tensor()};
  for (const Tensor& statistic : {running_mean, running_var}) {
    if (statistic.defined()) statistic.bump_version();
  }
  if (x.numel() == 0 && (x.size(1) == 0 || !moments.mean.defined())) return out;
  algorithm_cache().run(BatchNormCall{.x = as_columns(x),
                                      .weight = weight,
                                      .bias = bias,
                                      .residual = residual.defined() ? as_columns(residual) : residual,
                                      .options = options,
                                      .y = out.y,
                                      .save_mean = out.save_mean,
                                      .save_invstd = out.save_invstd,
                                      .relu_mask = out.relu_mask,
                                      .running_mean = running_mean,
                                      .running_var = running_var,
                                      .moments = moments},
                        batch_norm_algorithms);
  return out;
}

BatchNormGrads batch_norm_backward_gpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                       const Tensor& weight, const Tensor& save_mean,
                                       const Tensor& save_invstd, const BatchNormOptions& options,
                                       bool needs_residual) {
  const gpu::DeviceGuard guard(x.device().index);
  BatchNormGrads grads = empty_sums(grad, x, options.relu, needs_residual);
  grads.x = empty_columns(x);
  if (x.numel() == 0) {
    fill_(grads.weight, 0);
    fill_(grads.bias, 0);
    return grads;
  }
  algorithm_cache().run(
      backward_call(grad, x, options.relu ? relu_mask : Tensor(), weight, save_mean, save_invstd, grads),
      batch_norm_backward_algorithms);
  return grads;
}

BatchNormGrads batch_norm_backward_sums_gpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                            const Tensor& save_mean, const Tensor& save_invstd,
                                            const BatchNormOptions& options, bool needs_residual) {
  const gpu::DeviceGuard guard(x.device().index);
  const BatchNormGrads grads = empty_sums(grad, x, options.relu, needs_residual);
  if (x.numel() == 0) {
    fill_(grads.weight, 0);
    fill_(grads.bias, 0);
    return grads;
  }
  launch_batch_norm_backward_sums(
      backward_call(grad, x, options.relu ? relu_mask : Tensor(), {}, save_mean, save_invstd, grads));
  return grads;
}

Tensor batch_norm_backward_input_gpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                     const Tensor& weight, const Tensor& save_mean, const Tensor& save_invstd,
                                     const Tensor& grad_weight, const Tensor& grad_bias,
                                     const Tensor& count) {
  const gpu::DeviceGuard guard(x.device().index);
  const BatchNormGrads grads = {empty_columns(x), grad_weight, grad_bias, {}};
  if (x.numel() == 0) return grads.x;
  launch_batch_norm_backward_input(backward_call(grad, x, relu_mask, weight, save_mean, save_invstd, grads),
                                   count);
  return grads.x;
}

}  // namespace taper::ops
