#pragma once
// What each elementwise operation computes, written once for the CPU and the GPU. T is float, double or
// int64_t; predicates return bool.

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "taper/core/base/host_device.h"
#include "taper/ops/elementwise/elementwise_op.h"
#include "taper/ops/elementwise/vector_math.h"

namespace taper::ops {

/// Returns the number of inputs.
TAPER_HOST_DEVICE constexpr int arity(ElementwiseOp op) {
  return op < kFirstBinary ? 1 : op < kFirstTernary ? 2 : 3;
}

/// Returns whether integers are converted to floating point before they come here.
TAPER_HOST_DEVICE constexpr bool needs_float(ElementwiseOp op) {
  using enum ElementwiseOp;
  return (op >= kExp && op <= kErf) || op == kDiv || op == kLeakyRelu ||
         (op >= kSigmoidBackward && op <= kSiluBackward) || op == kLerp;
}

/// Returns whether results are bool.
TAPER_HOST_DEVICE constexpr bool is_predicate(ElementwiseOp op) {
  using enum ElementwiseOp;
  return (op >= kLogicalNot && op <= kIsFinite) || (op >= kEq && op <= kLogicalOr);
}

/// Returns the operation after `op` in the list.
TAPER_HOST_DEVICE constexpr ElementwiseOp next(ElementwiseOp op) {
  return ElementwiseOp(uint8_t(op) + 1);
}

/// Calls body.operator()<op>() for an `op` from `first` to `last`.
template <ElementwiseOp first, ElementwiseOp last, class Body>
void dispatch_op(ElementwiseOp op, Body&& body) {
  if (op == first) return body.template operator()<first>();
  if constexpr (first < last) dispatch_op<next(first), last>(op, body);
}

namespace formulas {

// Functions beyond arithmetic. On the GPU: its own precise ones (within 2 ulp by CUDA's programming guide).
// On the CPU: vectorisable ones.
#if defined(__CUDA_ARCH__)
namespace math {
template <class T>
__device__ T exp(T x) {
  return std::exp(x);
}
template <class T>
__device__ T log(T x) {
  return std::log(x);
}
template <class T>
__device__ T tanh(T x) {
  return std::tanh(x);
}
template <class T>
__device__ T erf(T x) {
  return std::erf(x);
}
}  // namespace math
#else
namespace math = vector_math;
#endif

template <class T>
inline constexpr bool is_integer = std::is_integral_v<T>;

template <class T>
inline constexpr T kInfinity = std::numeric_limits<T>::infinity();  // 0 for integers

/// Integers wrap around, as in PyTorch. Signed overflow itself is undefined in C++.
template <class T>
using Wrapping = std::conditional_t<is_integer<T>, uint64_t, T>;

template <class T>
TAPER_HOST_DEVICE T product_of(T a, T b) {
  return T(Wrapping<T>(a) * Wrapping<T>(b));
}

/// NaN in either operand wins: a > b is false for both orders, and a + b is NaN.
template <class T>
TAPER_HOST_DEVICE T larger(T a, T b) {
  if constexpr (is_integer<T>)
    return a > b ? a : b;
  else
    return a > b ? a : a <= b ? b : a + b;
}

template <class T>
TAPER_HOST_DEVICE T smaller(T a, T b) {
  if constexpr (is_integer<T>)
    return a < b ? a : b;
  else
    return a < b ? a : a >= b ? b : a + b;
}

template <class T>
TAPER_HOST_DEVICE T power(T base, T exponent) {
  if constexpr (is_integer<T>) {
    if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 == 0 ? 1 : -1) : 0;
    uint64_t result = 1, factor = uint64_t(base);
    for (; exponent > 0; exponent >>= 1) {
      if (exponent & 1) result *= factor;
      factor *= factor;
    }
    return T(result);
  } else {
    return std::pow(base, exponent);
  }
}

template <class T>
TAPER_HOST_DEVICE T sigmoid(T x) {
  return T(1) / (T(1) + math::exp(-x));
}

/// Phi, the normal distribution function.
template <class T>
TAPER_HOST_DEVICE T normal_distribution(T x) {
  return T(0.5) * (T(1) + math::erf(x * T(0.70710678118654752440)));
}

/// Phi(x) + x phi(x), with the density phi.
template <class T>
TAPER_HOST_DEVICE T gelu_slope(T x) {
  constexpr T kDensityAtZero = T(0.39894228040143267794);
  return normal_distribution(x) + x * kDensityAtZero * math::exp(T(-0.5) * x * x);
}

/// tanh(sqrt(2 / pi) (x + 0.044715 x^3)): close to 2 Phi(x) - 1.
template <class T>
TAPER_HOST_DEVICE T gelu_tanh_of(T x) {
  return math::tanh(T(0.79788456080286535588) * (x + T(0.044715) * x * x * x));
}

template <class T>
TAPER_HOST_DEVICE T gelu_tanh_slope(T x) {
  const T t = gelu_tanh_of(x), inner_slope = T(0.79788456080286535588) * (1 + T(0.134145) * x * x);
  return T(0.5) * (1 + t + x * (1 - t * t) * inner_slope);
}

template <class T>
TAPER_HOST_DEVICE T silu_slope(T x) {
  const T s = sigmoid(x);
  return s * (1 + x * (1 - s));
}

/// Exact at both ends: computed from a for small weights, from b for large ones.
template <class T>
TAPER_HOST_DEVICE T between(T a, T b, T weight) {
  return weight < T(0.5) ? a + weight * (b - a) : b - (b - a) * (1 - weight);
}

}  // namespace formulas

/// One input.
template <ElementwiseOp op, class T>
TAPER_HOST_DEVICE auto evaluate(T x) {
  using enum ElementwiseOp;
  using namespace formulas;
  constexpr bool kInteger = is_integer<T>;
  // Two's complement: -INT64_MIN is INT64_MIN, as in PyTorch, without undefined behaviour.
  if constexpr (op == kNeg && kInteger) return T(-uint64_t(x));
  if constexpr (op == kNeg && !kInteger) return -x;
  if constexpr (op == kAbs) return T(std::abs(x));
  if constexpr (op == kSign) return T(int(x > 0) - int(x < 0));
  if constexpr (op == kSquare) return product_of(x, x);
  if constexpr (op == kRelu) return x < 0 ? T(0) : x;
  if constexpr (op == kExp) return math::exp(x);
  if constexpr (op == kLog) return math::log(x);
  if constexpr (op == kLog1p) return std::log1p(x);
  if constexpr (op == kSqrt) return std::sqrt(x);
  if constexpr (op == kRsqrt) return T(1) / std::sqrt(x);
  if constexpr (op == kReciprocal) return T(1) / x;
  if constexpr (op == kSigmoid) return sigmoid(x);
  if constexpr (op == kTanh) return math::tanh(x);
  if constexpr (op == kGelu) return x * normal_distribution(x);
  if constexpr (op == kGeluTanh) return T(0.5) * x * (1 + gelu_tanh_of(x));
  if constexpr (op == kSilu) return x * sigmoid(x);
  if constexpr (op == kSin) return std::sin(x);
  if constexpr (op == kCos) return std::cos(x);
  if constexpr (op == kErf) return math::erf(x);
  if constexpr ((op == kFloor || op == kCeil || op == kRound) && kInteger) return x;
  if constexpr (op == kFloor && !kInteger) return std::floor(x);
  if constexpr (op == kCeil && !kInteger) return std::ceil(x);
  if constexpr (op == kRound && !kInteger) return std::nearbyint(x);
  if constexpr (op == kLogicalNot) return x == 0;
  if constexpr (op == kIsNan) return x != x;
  if constexpr (op == kIsInf) return !kInteger && std::abs(x) == kInfinity<T>;
  if constexpr (op == kIsFinite) return kInteger || std::abs(x) < kInfinity<T>;
}

/// Two inputs.
template <ElementwiseOp op, class T>
TAPER_HOST_DEVICE auto evaluate(T a, T b) {
  using enum ElementwiseOp;
  using namespace formulas;
  if constexpr (op == kAdd) return T(Wrapping<T>(a) + Wrapping<T>(b));
  if constexpr (op == kSub) return T(Wrapping<T>(a) - Wrapping<T>(b));
  if constexpr (op == kMul) return product_of(a, b);
  if constexpr (op == kDiv) return a / b;
  if constexpr (op == kPow) return power(a, b);
  if constexpr (op == kMaximum) return larger(a, b);
  if constexpr (op == kMinimum) return smaller(a, b);
  if constexpr (op == kLeakyRelu) return a > 0 ? a : a * b;
  if constexpr (op == kReluBackward) return b <= 0 ? T(0) : a;  // where b is NaN: the gradient, as in PyTorch
  if constexpr (op == kSigmoidBackward) return a * (1 - b) * b;
  if constexpr (op == kTanhBackward) return a * (1 - b * b);
  if constexpr (op == kGeluBackward) return a * gelu_slope(b);
  if constexpr (op == kGeluTanhBackward) return a * gelu_tanh_slope(b);
  if constexpr (op == kSiluBackward) return a * silu_slope(b);
  if constexpr (op == kEq) return a == b;
  if constexpr (op == kNe) return a != b;
  if constexpr (op == kLt) return a < b;
  if constexpr (op == kLe) return a <= b;
  if constexpr (op == kGt) return a > b;
  if constexpr (op == kGe) return a >= b;
  if constexpr (op == kLogicalAnd) return a != 0 && b != 0;
  if constexpr (op == kLogicalOr) return a != 0 || b != 0;
}

/// Three inputs.
template <ElementwiseOp op, class T>
TAPER_HOST_DEVICE auto evaluate(T a, T b, T c) {
  using enum ElementwiseOp;
  using namespace formulas;
  if constexpr (op == kAddScaled) return T(Wrapping<T>(a) + Wrapping<T>(product_of(c, b)));
  if constexpr (op == kClamp) return smaller(larger(a, b), c);
  if constexpr (op == kLerp) return between(a, b, c);
  if constexpr (op == kWhere) return c != 0 ? a : b;
}

}  // namespace taper::ops
