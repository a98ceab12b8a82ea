#pragma once
// Batch normalisation on a GPU as the algorithm cache sees it: the calls, and the algorithms.

#include <vector>

#include "taper/ops/algorithms/algorithm.h"
#include "taper/ops/norm/batch_norm.h"

namespace taper::ops {

/// A call of batch_norm_training(), which says what may be undefined. Images have their channels innermost in
/// memory (as_columns), and at least one element.
struct BatchNormCall {
  Tensor x, weight, bias, residual;
  BatchNormOptions options;
  Tensor y, save_mean, save_invstd;
  Tensor relu_mask;                  ///< undefined: not wanted
  Tensor running_mean, running_var;  ///< updated in place
  BatchMoments moments = {};         ///< of x, if known

  Problem problem() const;
  std::vector<Tensor*> outputs();
};

/// A call of batch_norm_backward(), with channels innermost in memory. Without a ReLU relu_mask is undefined.
struct BatchNormBackwardCall {
  Tensor grad, x, relu_mask, weight, save_mean, save_invstd;
  Tensor grad_x, grad_weight, grad_bias;
  Tensor grad_residual;  ///< grad as the mask lets it through; undefined: not wanted, or grad itself

  Problem problem() const;
  std::vector<Tensor*> outputs();
};

/// Returns Taper's kernels and, where measured times decide, a few engines of a vendor's library. Only a few:
/// cuDNN's list is one kernel in thirty settings, and each takes a second to compile.
std::vector<Algorithm> batch_norm_algorithms(const BatchNormCall& call);
std::vector<Algorithm> batch_norm_backward_algorithms(const BatchNormBackwardCall& call);

}  // namespace taper::ops
