#pragma once
// The list of elementwise operations. Every backend implements one function per list:
//   out[i] = op(inputs[0][i], inputs[1][i], ...)
// Numbers arrive as inputs without dimensions, so an operation has no parameters.

#include <cstdint>
#include <span>
#include <string_view>

#include "taper/core/tensor.h"

namespace taper::ops {

enum class ElementwiseOp : uint8_t {
  // one input
  kNeg,
  kAbs,
  kSign,
  kSquare,
  kRelu,
  kExp,
  kLog,
  kLog1p,
  kSqrt,
  kRsqrt,
  kReciprocal,
  kSigmoid,
  kTanh,
  kGelu,
  kGeluTanh,
  kSilu,
  kSin,
  kCos,
  kErf,
  kFloor,
  kCeil,
  kRound,
  kLogicalNot,
  kIsNan,
  kIsInf,
  kIsFinite,
  // two inputs
  kAdd,
  kSub,
  kMul,
  kDiv,
  kPow,
  kMaximum,
  kMinimum,
  kLeakyRelu,
  kReluBackward,
  kSigmoidBackward,
  kTanhBackward,
  kGeluBackward,
  kGeluTanhBackward,
  kSiluBackward,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kLogicalAnd,
  kLogicalOr,
  // three inputs
  kAddScaled,
  kClamp,
  kLerp,
  kWhere,
};

/// "neg", "abs", ...: the public function's name.
std::string_view name(ElementwiseOp op);

/// Inputs have out's shape (or stride 0 where they are broadcast). They are converted to `compute` (f32, f64
/// or i64), the result from there, or from bool for predicates, to out's dtype. `out` may be one of the
/// inputs.
void elementwise_cpu(ElementwiseOp op, const Tensor& out, std::span<const Tensor> inputs, DType compute);

}  // namespace taper::ops
