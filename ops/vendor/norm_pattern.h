#pragma once
// A batch normalisation of training, and what follows it, as a vendor's library is asked for it
// (ops/vendor/engine_library.h).

#include "taper/core/tensor.h"

namespace taper::ops {

enum class NormPass : uint8_t { kForward, kBackward };

/// Images are [N, H, W, C] in memory; statistics and parameters are f32 [C], kEpsilon and kMomentum numbers.
///
/// Forward: kX, kWeight, kBias give kY = relu(normalised * weight + bias + kResidual), kMean and kInvstd, the
/// ReLU's kReluMask, and of kRunningMean and kRunningVar kNextRunningMean and kNextRunningVar, with the
/// unbiased variance and kMomentum as the new value's share.
/// Backward: kGradY, kX, kWeight, kMean, kInvstd and kReluMask give kGradX, kGradWeight, kGradBias, and in
/// kGradResidual what the ReLU lets through of kGradY.
///
/// The mask has a bit for each element in the order of memory, the lowest of a byte first.
struct NormPattern {
  NormPass pass = NormPass::kForward;
  Shape shape = {};        ///< [N, C, H, W]
  DType dtype = kFloat32;  ///< f32, f16 or bf16, of all images; sums are f32
  bool residual = false;   ///< forward: it is added; backward: its gradient is asked for, behind a ReLU
  bool relu = false;       ///< backward: kGradY goes through the mask
  bool mask = false;       ///< forward with a ReLU: which elements it let through is asked for
  bool running = false;    ///< forward: running statistics are asked for
};

}  // namespace taper::ops
