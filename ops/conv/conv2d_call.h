#pragma once  // spine 16 (docs/0-the-spine.md)
// One convolution as the algorithm cache sees it, and the lists of algorithms that compute it.

#include <vector>

#include "taper/core/tf32.h"
#include "taper/ops/algorithms/algorithm.h"
#include "taper/ops/conv/constant_weight.h"
#include "taper/ops/conv/conv2d_geometry.h"
#include "taper/ops/moments/batch_moments.h"

namespace taper::ops {

/// A convolution has three tensors, and each pass computes one of them from the other two: the output y, the
/// gradient with respect to x, or the gradient with respect to the weight.
enum class Conv2dPass { kForward, kBackwardInput, kBackwardWeight };

/// Tensors are channels_last, of one device and compute dtype, and checked.
struct Conv2dCall {
  Conv2dPass pass = Conv2dPass::kForward;
  Conv2dGeometry conv = {};
  Tensor x = {};         ///< the input; in kBackwardInput its gradient, which is written
  Tensor weight = {};    ///< in kBackwardWeight its gradient, which is written
  Tensor y = {};         ///< the output, which is written; in backward passes its gradient
  Tensor bias = {};      ///< forward only; may be undefined
  Tensor residual = {};  ///< forward only; laid out as y; may be undefined
  bool relu = false;     ///< forward only: y = relu(sums + bias + residual)
  const ConstantWeight* constant = nullptr;  ///< keeps what algorithms make of the weight; or null
  bool allow_tf32 = allow_tf32_conv();       ///< counts for f32 on a GPU
  Conv2dPrologue prologue = {};              ///< forward only; in the compute dtype; may be undefined
  BatchMoments moments = {};                 ///< forward only: to get those of y; may be undefined

  /// The tensor that is written, and the two that are read, with the problem's names for them.
  const Tensor& result() const;
  const Tensor& first() const { return pass == Conv2dPass::kForward ? x : y; }
  const Tensor& second() const { return pass == Conv2dPass::kBackwardWeight ? x : weight; }

  Problem problem() const;
  std::vector<Tensor*> outputs();
};

/// The algorithms on the CPU, plainest first: a product of packed matrices, depthwise loops, Winograd.
std::vector<Algorithm> conv2d_cpu_algorithms(const Conv2dCall& call);

/// The algorithms on the GPU: implicit matrix products with tiles of the usual size, large and small, or, for
/// single pixels, those of the plain product (gpu/product.h); depthwise convolution; and a vendor's library
/// (gpu/library_algorithms.h).
std::vector<Algorithm> conv2d_gpu_algorithms(const Conv2dCall& call);

}  // namespace taper::ops
