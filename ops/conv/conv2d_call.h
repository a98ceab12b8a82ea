#pragma once
// One convolution as the algorithm cache sees it, and the ways to compute it.

#include <vector>

#include "taper/core/tf32.h"
#include "taper/ops/algorithms/algorithm_candidate.h"
#include "taper/ops/conv/constant_weight.h"
#include "taper/ops/conv/conv2d_geometry.h"
#include "taper/ops/moments/batch_moments.h"

namespace taper::ops {

enum class Conv2dPass { kForward, kBackwardInput, kBackwardWeight };

/// Tensors are channels_last, of one device and compute dtype, and checked.
struct Conv2dCall {
  Conv2dPass pass;
  Conv2dGeometry conv;
  Tensor first;   ///< x forward, else the output's gradient
  Tensor second;  ///< the weight, or x for the weight's gradient
  Tensor bias;    ///< forward only; may be undefined
  Tensor result;
  Tensor residual = {};                      ///< forward only; laid out as the result, may be undefined
  bool relu = false;                         ///< forward only: result = relu(sums + bias + residual)
  const ConstantWeight* constant = nullptr;  ///< keeps what candidates make of the weight; or null
  bool allow_tf32 = allow_tf32_conv();       ///< counts for f32 on a GPU
  Conv2dPrologue prologue = {};              ///< forward only; in the compute dtype, may be undefined
  BatchMoments moments = {};                 ///< forward only: to get those of the result; may be undefined

  Problem problem() const;
  std::vector<Tensor*> outputs() {
    if (!moments.mean.defined()) return {&result};
    return {&result, &moments.mean, &moments.var};
  }
};

/// A candidate that computes the moments, too, from the result of one that does not know of them.
Candidate<Conv2dCall> with_moments_after(Candidate<Conv2dCall> candidate);
/// A candidate that writes relu(x * scale + shift) down, if there is a prologue, for one that knows of none.
Candidate<Conv2dCall> with_prologue_before(Candidate<Conv2dCall> candidate);

/// The candidates on the CPU, plainest first: a product of packed matrices, depthwise loops, Winograd.
/// All of them, here and below, fill call.moments if they are asked for.
std::vector<Candidate<Conv2dCall>> conv2d_cpu_candidates(const Conv2dCall& call);

/// The candidates on the GPU: implicit matrix products with tiles of the usual size, large and small, or, for
/// single pixels, those of the plain product (gpu/product.h); depthwise convolution; and a vendor's
/// library (ops/vendor/library_candidates.h).
std::vector<Candidate<Conv2dCall>> conv2d_gpu_candidates(const Conv2dCall& call);

}  // namespace taper::ops
