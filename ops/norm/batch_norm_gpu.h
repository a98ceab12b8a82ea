#pragma once
// The GPU's batch norm. batch_norm.cpp has checked the arguments, which batch_norm.h describes. All functions
// only enqueue, on the current stream of the tensors' device.

#include "taper/ops/norm/batch_norm_call.h"

namespace taper::ops {

BatchNormOutput batch_norm_training_gpu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                        const Tensor& running_mean, const Tensor& running_var,
                                        const BatchNormOptions& options, const Tensor& residual,
                                        bool for_backward, const BatchMoments& moments);
Tensor batch_norm_inference_gpu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                const Tensor& running_mean, const Tensor& running_var,
                                const BatchNormOptions& options, const Tensor& residual);
BatchNormGrads batch_norm_backward_gpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                       const Tensor& weight, const Tensor& save_mean,
                                       const Tensor& save_invstd, const BatchNormOptions& options,
                                       bool needs_residual);
BatchNormGrads batch_norm_backward_sums_gpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                            const Tensor& save_mean, const Tensor& save_invstd,
                                            const BatchNormOptions& options, bool needs_residual);
Tensor batch_norm_backward_input_gpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                     const Tensor& weight, const Tensor& save_mean, const Tensor& save_invstd,
                                     const Tensor& grad_weight, const Tensor& grad_bias, const Tensor& count);
/// See batch_moments_of() in batch_moments.h.
void batch_moments_gpu(const Tensor& x, const BatchMoments& to);
Tensor unpack_relu_mask_gpu(const Tensor& relu_mask, const Tensor& x);

/// Computes the call with Taper's kernels.
void launch_batch_norm_training(const BatchNormCall& call);
void launch_batch_norm_backward(const BatchNormBackwardCall& call);
/// The two passes of launch_batch_norm_backward(). The second one reads grad_weight and grad_bias as the sums
/// over a batch with as many values a channel as `count` says; undefined: as x has.
void launch_batch_norm_backward_sums(const BatchNormBackwardCall& call);
void launch_batch_norm_backward_input(const BatchNormBackwardCall& call, const Tensor& count);

/// Returns x as the kernels read it: channels innermost.
Tensor as_columns(const Tensor& x);
/// Returns an uninitialised tensor like `like`, channels innermost.
Tensor empty_columns(const Tensor& like);

}  // namespace taper::ops
