#pragma once
// Differentiable batch norm with optional residual add and ReLU.

#include "taper/core/tensor.h"
#include "taper/ops/norm/batch_norm.h"

namespace taper {

/// With `training`, statistics of the batch, which also update running_mean and running_var (where defined);
/// else the running ones. Shapes, dtypes and errors as documented in ops/norm/batch_norm.h. weight, bias,
/// residual and, in training, the running statistics may be undefined. `moments` are those of x where
/// conv2d_moments has computed them, for training; gradients flow as if they were computed here. The ordinary
/// backward pass is one fused op; under create_graph a formula of differentiable functions takes its place,
/// so any order of derivatives works. (torch.nn.functional.batch_norm)
Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                  const Tensor& running_var, bool training, const BatchNormOptions& options = {},
                  const Tensor& residual = {}, const BatchMoments& moments = {});

}  // namespace taper
