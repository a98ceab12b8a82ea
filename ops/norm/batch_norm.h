#pragma once  // spine 18 (docs/0-the-spine.md)
// Batch normalisation with the two operations that follow it in a residual network, in one pass over memory:
//
//   y = relu((x - mean) / sqrt(var + eps) * weight + bias + residual)
//
// mean and var are taken over all axes but the channels (axis 1). Which elements the ReLU let through is kept
// as bits, an eighth of a byte for each, so that backward neither reads y nor keeps it alive. Ioffe and
// Szegedy, "Batch Normalization", 2015. PyTorch's counterpart: ATen/native/Normalization.cpp; cuDNN: the
// batch norm + add + ReLU fusions and their bit mask.

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
  Tensor relu_mask;    ///< which elements the ReLU let through; undefined unless asked for
};

/// The shape of the mask, u8: a row for each pixel of x in channels_last order, in it a byte for 8
/// channels. Bit c % 8 of byte c / 8 is 1 where y > 0 or NaN (a cuDNN engine gives 0 for NaN); what is left
/// of the last byte is 0.
Shape relu_mask_shape(const Tensor& x);

/// x: [N, C] or [N, C, H, W], f32, f64, f16 or bf16 (half types compute in f32); weight, bias: [C], in x's
/// dtype or its compute dtype, may be undefined (1 and 0); residual: as x, may be undefined. running_mean and
/// running_var ([C], or both undefined) are updated in place: (1 - momentum) * old + momentum * new, with the
/// unbiased variance. for_backward with options.relu: makes relu_mask. moments: batch_moments(x), if they are
/// known already (conv2d_moments), and then x is read once less. Throws Error if shapes or dtypes do not fit,
/// or if there is only one value per channel. (torch.nn.functional.batch_norm, training=True)
BatchNormOutput batch_norm_training(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                    const Tensor& running_mean, const Tensor& running_var,
                                    const BatchNormOptions& options = {}, const Tensor& residual = {},
                                    bool for_backward = false, const BatchMoments& moments = {});

/// The same with given statistics instead of the batch's. (training=False)
Tensor batch_norm_inference(const Tensor& x, const Tensor& weight, const Tensor& bias,
                            const Tensor& running_mean, const Tensor& running_var,
                            const BatchNormOptions& options = {}, const Tensor& residual = {});

struct BatchNormGrads {
  Tensor x;         ///< as x
  Tensor weight;    ///< [C] in x's compute dtype
  Tensor bias;      ///< [C] in x's compute dtype
  Tensor residual;  ///< as x if asked for, else undefined
};

/// The gradients of batch_norm_training. relu_mask, made by it, is read only if options.relu. weight as it
/// was given there; may be undefined. Throws Error if something does not fit x.
BatchNormGrads batch_norm_backward(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                   const Tensor& weight, const Tensor& save_mean, const Tensor& save_invstd,
                                   const BatchNormOptions& options = {}, bool needs_residual = false);

/// As x: above 0 where the ReLU let the element through, else 0. For formulas made of other functions.
Tensor unpack_relu_mask(const Tensor& relu_mask, const Tensor& x);

}  // namespace ops
}  // namespace taper
