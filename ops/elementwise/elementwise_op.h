#pragma once
// The list of elementwise operations. Every backend implements one function for the whole list:
//   out[i] = op(inputs[0][i], inputs[1][i], ...)
// Numbers arrive as inputs without dimensions, so an operation has no parameters.

#include <cstdint>
#include <span>
#include <string_view>

#include "taper/core/tensor.h"

namespace taper::ops {

/// Every operation, with the name of its public function.
// clang-format off
#define TAPER_ELEMENTWISE_OPS(X)                                                                       \
  /* one input */                                                                                      \
  X(kNeg, "neg") X(kAbs, "abs") X(kSign, "sign") X(kSquare, "square") X(kRelu, "relu") X(kExp, "exp")  \
  X(kLog, "log") X(kLog1p, "log1p") X(kSqrt, "sqrt") X(kRsqrt, "rsqrt") X(kReciprocal, "reciprocal")   \
  X(kSigmoid, "sigmoid") X(kTanh, "tanh") X(kGelu, "gelu") X(kGeluTanh, "gelu_tanh") X(kSilu, "silu")  \
  X(kSin, "sin") X(kCos, "cos") X(kErf, "erf") X(kFloor, "floor") X(kCeil, "ceil") X(kRound, "round")  \
  X(kLogicalNot, "logical_not") X(kIsNan, "isnan") X(kIsInf, "isinf") X(kIsFinite, "isfinite")         \
  /* two inputs */                                                                                     \
  X(kAdd, "add") X(kSub, "sub") X(kMul, "mul") X(kDiv, "div") X(kPow, "pow") X(kMaximum, "maximum")    \
  X(kMinimum, "minimum") X(kLeakyRelu, "leaky_relu") X(kReluBackward, "relu_backward")                 \
  X(kSigmoidBackward, "sigmoid_backward") X(kTanhBackward, "tanh_backward")                            \
  X(kGeluBackward, "gelu_backward") X(kGeluTanhBackward, "gelu_tanh_backward")                         \
  X(kSiluBackward, "silu_backward") X(kEq, "eq") X(kNe, "ne") X(kLt, "lt") X(kLe, "le") X(kGt, "gt")   \
  X(kGe, "ge") X(kLogicalAnd, "logical_and") X(kLogicalOr, "logical_or")                               \
  /* three inputs */                                                                                   \
  X(kAddScaled, "add") X(kClamp, "clamp") X(kLerp, "lerp") X(kWhere, "where")
// clang-format on

enum class ElementwiseOp : uint8_t {
#define TAPER_ENUMERATOR(op, name) op,
  TAPER_ELEMENTWISE_OPS(TAPER_ENUMERATOR)
#undef TAPER_ENUMERATOR
};

// The first and the last operation with one, two and three inputs.
inline constexpr ElementwiseOp kFirstUnary = ElementwiseOp::kNeg, kLastUnary = ElementwiseOp::kIsFinite;
inline constexpr ElementwiseOp kFirstBinary = ElementwiseOp::kAdd, kLastBinary = ElementwiseOp::kLogicalOr;
inline constexpr ElementwiseOp kFirstTernary = ElementwiseOp::kAddScaled,
                               kLastTernary = ElementwiseOp::kWhere;

/// Returns the public function's name: "neg", "abs", ...
std::string_view name(ElementwiseOp op);

/// Computes out[i] = op(inputs[0][i], ...). Inputs have out's shape, with stride 0 where they are broadcast.
/// They are converted to `compute` (f32, f64 or i64). The result is converted to out's dtype from `compute`,
/// or from bool for predicates. `out` may be one of the inputs.
void elementwise_cpu(ElementwiseOp op, const Tensor& out, std::span<const Tensor> inputs, DType compute);

}  // namespace taper::ops
