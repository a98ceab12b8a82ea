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

/// Tensors are channels_last, of one device and dtype, and checked. A weight's gradient may be f32 where the
/// other tensors are half types.
struct Conv2dCall {
  Conv2dPass pass = Conv2dPass::kForward;
  Conv2dGeometry conv = {};
  Tensor x = {};         ///< the input; in kBackwardInput its gradient, the result
  Tensor weight = {};    ///< in kBackwardWeight its gradient, the result
  Tensor y = {};         ///< the output, the result of kForward; in backward passes its gradient
  Tensor bias = {};      ///< forward only; may be undefined
  Tensor residual = {};  ///< forward only; laid out as y; may be undefined
  bool relu = false;     ///< forward only: y = relu(sums + bias + residual)
  const ConstantWeight* constant = nullptr;  ///< keeps what algorithms make of the weight; may be null
  bool allow_tf32 = allow_tf32_conv();       ///< matters for f32 on a GPU
  Conv2dPrologue prologue = {};              ///< forward only; in the compute dtype; may be undefined
  BatchMoments moments = {};                 ///< forward only: receives the moments of y; may be undefined

  /// The tensor that is written, then the two that are read, with their names for the problem.
  const Tensor& result() const;
  const Tensor& first() const { return pass == Conv2dPass::kForward ? x : y; }
  const Tensor& second() const { return pass == Conv2dPass::kBackwardWeight ? x : weight; }

  Problem problem() const;
  std::vector<Tensor*> outputs();
};

/// The algorithms on the CPU, plainest first: a product of packed matrices, depthwise loops, Winograd. For
/// half types also the instructions for bf16 that the CPU has.
std::vector<Algorithm> conv2d_cpu_algorithms(const Conv2dCall& call);

/// Winograd's algorithms in f64. No list has them, because in f64 sums stay direct; a test of the formulas needs
/// their accuracy.
std::vector<Algorithm> winograd_f64_algorithms(const Conv2dCall& call);

/// The algorithms on the GPU: implicit matrix products with tiles of the usual size, large and small;
/// depthwise convolution; and a vendor's library (gpu/library_algorithms.h). Convolutions of single pixels
/// take the algorithms of the plain product instead (gpu/product.h).
std::vector<Algorithm> conv2d_gpu_algorithms(const Conv2dCall& call);

}  // namespace taper::ops
