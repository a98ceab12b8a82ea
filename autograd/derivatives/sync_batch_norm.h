#pragma once
// Differentiable batch norm of a batch whose parts lie on several ranks.

#include "taper/core/tensor.h"
#include "taper/ops/collective/process_group.h"
#include "taper/ops/norm/batch_norm.h"

namespace taper {

/// Returns batch_norm() in training of this rank's part x, by the statistics of all ranks' x, which may differ in
/// size. All ranks must call it, and backward() of what comes of it, in the same order. The running statistics
/// stay equal on all ranks. Gradients: x's and residual's are those of the sum of all ranks' losses; weight's
/// and bias's are this rank's share of theirs. backward() with create_graph throws Error, except in a group of one,
/// where this is batch_norm(). `group` must outlive the graph. Shapes, dtypes and other arguments as documented for
/// batch_norm(). (torch.nn.SyncBatchNorm)
Tensor sync_batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                       const Tensor& running_var, ProcessGroup& group, const BatchNormOptions& options = {},
                       const Tensor& residual = {}, const BatchMoments& moments = {});

}  // namespace taper
