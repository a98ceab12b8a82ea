#pragma once
// A convolution and its epilogue, as a request to a vendor's library (ops/vendor/engine_library.h).

#include "taper/ops/conv/conv2d_call.h"
#include "taper/ops/vendor/engine_operands.h"

namespace taper::ops {

/// Images are [N, H, W, C] in memory, weights [K, R, S, C / groups]; sums are f32. Operands: kX and kWeight
/// give kY, with kBias [K] and kResidual (as y), kScale and kShift, f32 [C], and kSum and kSquareSum, f32
/// [K]; kGradY and kWeight give kGradX, kGradY and kX kGradWeight.
struct ConvPattern {
  Conv2dPass pass = Conv2dPass::kForward;
  Conv2dGeometry conv;
  DType dtype = kFloat32;                             ///< f32, f16 or bf16, of all operands
  bool f32_result = false;                            ///< half types give an f32 kGradWeight
  bool allow_tf32 = false;                            ///< f32 operands may be rounded to TF32
  bool bias = false, residual = false, relu = false;  ///< forward only: y = relu(sums + bias + residual)
  bool affine_relu = false;                           ///< forward only: for relu(x * scale + shift)
  bool sums = false;                                  ///< forward only: also the sums of y and of its squares

  static ConvPattern of(const Conv2dCall& call);
};

EngineOperands conv_operands(const Conv2dCall& call);

}  // namespace taper::ops
