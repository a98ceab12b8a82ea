#pragma once
// The CPU's batch norm. batch_norm.cpp has checked the arguments, which batch_norm.h describes.

#include "taper/ops/norm/batch_norm.h"

namespace taper::ops {

BatchNormOutput batch_norm_training_cpu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                        const Tensor& running_mean, const Tensor& running_var,
                                        const BatchNormOptions& options, const Tensor& residual,
                                        bool for_backward, const BatchMoments& moments);
Tensor batch_norm_inference_cpu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                const Tensor& running_mean, const Tensor& running_var,
                                const BatchNormOptions& options, const Tensor& residual);
BatchNormGrads batch_norm_backward_cpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                       const Tensor& weight, const Tensor& save_mean,
                                       const Tensor& save_invstd, const BatchNormOptions& options,
                                       bool needs_residual);
BatchNormGrads batch_norm_backward_sums_cpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                            const Tensor& save_mean, const Tensor& save_invstd,
                                            const BatchNormOptions& options, bool needs_residual);
Tensor batch_norm_backward_input_cpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                     const Tensor& weight, const Tensor& save_mean, const Tensor& save_invstd,
                                     const Tensor& grad_weight, const Tensor& grad_bias, const Tensor& count);
/// See batch_moments_of() in batch_moments.h.
void batch_moments_cpu(const Tensor& x, const BatchMoments& to);
Tensor unpack_relu_mask_cpu(const Tensor& relu_mask, const Tensor& x);

}  // namespace taper::ops
