#pragma once
// Batch normalisation on a GPU as the algorithm cache sees it: the calls, and the ways to compute them.

#include <vector>

#include "taper/ops/algorithms/algorithm.h"
#include "taper/ops/norm/batch_norm.h"

namespace taper::ops {

/// batch_norm_training(). Images have their channels innermost in memory (as_columns), and at least one
/// element; what may be undefined there may be here.
struct BatchNormCall {
  Tensor x, weight, bias, residual;
  BatchNormOptions options;
  Tensor y, save_mean, save_invstd;
  Tensor relu_mask;                  ///< undefined: not asked for
  Tensor running_mean, running_var;  ///< updated in place
  BatchMoments moments = {};         ///< of x, if they are known already

  Problem problem() const;
  std::vector<Tensor*> outputs();
};

/// batch_norm_backward(), likewise. Without a ReLU relu_mask is undefined.
struct BatchNormBackwardCall {
  Tensor grad, x, relu_mask, weight, save_mean, save_invstd;
  Tensor grad_x, grad_weight, grad_bias;
  Tensor grad_residual;  ///< what the ReLU lets through of grad; undefined: not asked for, or grad itself

  Problem problem() const;
  std::vector<Tensor*> outputs();
};

/// Returns Taper's kernels and, where times decide, a few engines of a vendor's library: cuDNN's list is one
/// kernel in thirty settings, and each takes a second to compile.
std::vector<Algorithm> batch_norm_algorithms(const BatchNormCall& call);
std::vector<Algorithm> batch_norm_backward_algorithms(const BatchNormBackwardCall& call);

}  // namespace taper::ops
