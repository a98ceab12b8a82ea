#pragma once
// The list of elementwise operations. Every backend implements one function for the whole list:
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

/// Returns the public function's name: "neg", "abs", ...
std::string_view name(ElementwiseOp op);

/// Computes out[i] = op(inputs[0][i], ...). Inputs have out's shape, with stride 0 where they are broadcast.
/// They are converted to `compute` (f32, f64 or i64). The result is converted to out's dtype from `compute`,
/// or from bool for predicates. `out` may be one of the inputs.
void elementwise_cpu(ElementwiseOp op, const Tensor& out, std::span<const Tensor> inputs, DType compute);

}  // namespace taper::ops
