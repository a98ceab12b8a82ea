#pragma once
// Pooling on a GPU as the algorithm cache sees it: the calls, and the ways to compute them.

#include <vector>

#include "taper/core/algorithm_candidate.h"
#include "taper/ops/pool/pool2d_gpu.h"

namespace taper::ops {

/// The values of max_pool2d() without their places. Tensors are channels_last, and not empty.
struct MaxPoolCall {
  Tensor x;
  MaxPoolAxes axes;
  Tensor y;

  Problem problem() const;
  std::vector<Tensor*> outputs() { return {&y}; }
};

/// Averages of windows, or, backward, of y's gradient in `from` the gradient by x in `to`.
struct AveragePoolCall {
  bool backward;
  Tensor from;
  AveragePoolAxes axes;
  Tensor to;

  Problem problem() const;
  std::vector<Tensor*> outputs() { return {&to}; }
};

/// Taper's kernel, and where times decide, a vendor's library: it compiles all of its engines.
std::vector<Candidate<MaxPoolCall>> max_pool_candidates(const MaxPoolCall& call);
std::vector<Candidate<AveragePoolCall>> average_pool_candidates(const AveragePoolCall& call);

}  // namespace taper::ops
