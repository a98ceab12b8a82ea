#pragma once
// A batch normalisation in training and its epilogue, as a request to a vendor's library
// (ops/vendor/engine_library.h).

#include "taper/core/tensor.h"

namespace taper::ops {

enum class NormPass : uint8_t { kForward, kBackward };

/// Images are [N, H, W, C] in memory; statistics and parameters are f32 [C], kEpsilon and kMomentum numbers.
///
/// Forward: kX, kWeight, kBias give kY = relu(normalised * weight + bias + kResidual), kMean and kInvstd, and
/// the ReLU's kReluMask. kRunningMean and kRunningVar give kNextRunningMean and kNextRunningVar, with the
/// unbiased variance and kMomentum as the new value's share.
/// Backward: kGradY, kX, kWeight, kMean, kInvstd and kReluMask give kGradX, kGradWeight and kGradBias.
/// kGradResidual is kGradY as the ReLU's mask lets it through.
///
/// The mask has a bit for each element in memory order, the lowest of a byte first.
struct NormPattern {
  NormPass pass = NormPass::kForward;
  Shape shape = {};        ///< [N, C, H, W]
  DType dtype = kFloat32;  ///< f32, f16 or bf16, of all images; sums are f32
  bool residual = false;   ///< forward: added; backward: its gradient, after a ReLU, is wanted
  bool relu = false;       ///< backward: the mask applies to kGradY
  bool mask = false;       ///< forward with a ReLU: the mask is wanted
  bool running = false;    ///< forward: running statistics are wanted
};

}  // namespace taper::ops
