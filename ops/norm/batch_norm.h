#pragma once  // spine 18 (docs/0-the-spine.md)
// Batch normalisation with the two operations that follow it in a residual network, in one pass over memory:
//
//   y = relu((x - mean) / sqrt(var + eps) * weight + bias + residual)
//
// mean and var are taken over all axes but the channels (axis 1). A mask of bits, an eighth of a byte per
// element, keeps which elements the ReLU let through, so that backward neither reads y nor keeps it alive.
// Ioffe and Szegedy, "Batch Normalization", 2015. PyTorch's counterpart: ATen/native/Normalization.cpp;
// cuDNN: the batch norm + add + ReLU fusions and their bit mask.

#include "taper/ops/moments/batch_moments.h"

namespace taper {

struct BatchNormOptions {
  double momentum = 0.1;  ///< share of the new value in the running statistics
  double eps = 1e-5;      ///< added to the variance
  bool relu = false;      ///< clamp the result at 0
};

namespace ops {

struct BatchNormOutput {
  Tensor y;            ///< as x; channels_last if x has 4 dimensions
  Tensor save_mean;    ///< [C], in x's compute dtype
  Tensor save_invstd;  ///< [C], 1 / sqrt(var + eps) with the biased variance
  Tensor relu_mask;    ///< which elements the ReLU let through; may be undefined
};

/// Returns the shape of the mask, u8: a row for each pixel of x in channels_last order, a byte for 8
/// channels. Bit c % 8 of byte c / 8 is 1 where y > 0 or NaN (a cuDNN engine gives 0 for NaN). The last
/// byte's unused bits are 0.
Shape relu_mask_shape(const Tensor& x);

/// Normalises by the batch's statistics. x: [N, C] or [N, C, H, W], f32, f64, f16 or bf16 (half types compute
/// in f32). weight, bias: [C], in x's dtype or compute dtype; undefined means 1 and 0. residual: as x, or
/// undefined. running_mean, running_var: [C], or both undefined; set to (1 - momentum) * old + momentum *
/// new, with the unbiased variance. for_backward with options.relu: makes relu_mask. moments:
/// batch_moments(x) if known (conv2d_moments), which saves reading x once; or those of a batch that x is a part
/// of. Throws Error if shapes or dtypes do not fit, or if a channel has only one value. (torch.nn.functional.batch_norm, training=True)
BatchNormOutput batch_norm_training(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                    const Tensor& running_mean, const Tensor& running_var,
                                    const BatchNormOptions& options = {}, const Tensor& residual = {},
                                    bool for_backward = false, const BatchMoments& moments = {});

/// Normalises by given statistics instead of the batch's. (torch.nn.functional.batch_norm, training=False)
Tensor batch_norm_inference(const Tensor& x, const Tensor& weight, const Tensor& bias,
                            const Tensor& running_mean, const Tensor& running_var,
                            const BatchNormOptions& options = {}, const Tensor& residual = {});

struct BatchNormGrads {
  Tensor x;         ///< as x
  Tensor weight;    ///< [C] in x's compute dtype
  Tensor bias;      ///< [C] in x's compute dtype
  Tensor residual;  ///< as x if asked for, else undefined
};

/// Returns the gradients of batch_norm_training. relu_mask: its output, read only if options.relu. weight:
/// its argument, or undefined. Throws Error if something does not fit x.
BatchNormGrads batch_norm_backward(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                   const Tensor& weight, const Tensor& save_mean, const Tensor& save_invstd,
                                   const BatchNormOptions& options = {}, bool needs_residual = false);

/// The two passes of batch_norm_backward(), for an x that is a rank's part of a batch. The first returns all
/// gradients but x's: sums over x alone. (PyTorch: batch_norm_backward_reduce)
BatchNormGrads batch_norm_backward_sums(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                        const Tensor& save_mean, const Tensor& save_invstd,
                                        const BatchNormOptions& options = {}, bool needs_residual = false);

/// The second pass returns x's gradient. grad_weight, grad_bias: the first pass's, added up over the whole batch.
/// count: that of BatchMoments. relu_mask: undefined if `grad` is what the ReLU let through. (PyTorch:
/// batch_norm_backward_elemt)
Tensor batch_norm_backward_input(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                 const Tensor& weight, const Tensor& save_mean, const Tensor& save_invstd,
                                 const Tensor& grad_weight, const Tensor& grad_bias,
                                 const Tensor& count = {});

/// Returns a tensor like x: above 0 where the ReLU let the element through, else 0. For formulas made of ops.
Tensor unpack_relu_mask(const Tensor& relu_mask, const Tensor& x);

}  // namespace ops
}  // namespace taper
