#include <cmath>

#include "taper/ops/elementwise/block_kernel.h"
#include "taper/ops/elementwise/vector_math.h"

namespace taper::ops {
namespace {

// Integers wrap around, as in PyTorch; signed overflow itself is undefined in C++.
template <class T>
using Wrapping = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;

template <class T>
T sum_of(T a, T b) {
  return T(Wrapping<T>(a) + Wrapping<T>(b));
}

template <class T>
T difference_of(T a, T b) {
  return T(Wrapping<T>(a) - Wrapping<T>(b));
}

template <class T>
T product_of(T a, T b) {
  return T(Wrapping<T>(a) * Wrapping<T>(b));
}

/// NaN in either wins: a > b is false for both, and a + b is NaN.
template <class T>
T larger(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return a > b ? a : b;
  else
    return a > b ? a : a <= b ? b : a + b;
}

template <class T>
T smaller(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return a < b ? a : b;
  else
    return a < b ? a : a >= b ? b : a + b;
}

template <class T>
T power(T base, T exponent) {
  if constexpr (std::is_integral_v<T>) {
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

/// Exact at both ends: from a for small weights, from b for large ones.
template <class T>
T between(T a, T b, T weight) {
  return weight < T(0.5) ? a + weight * (b - a) : b - (b - a) * (1 - weight);
}

/// Phi(x) + x phi(x), with the normal distribution function and its density.
template <class T>
T gelu_slope(T x) {
  constexpr T kSqrtHalf = T(0.70710678118654752440), kDensityAtZero = T(0.39894228040143267794);
  const T distribution = T(0.5) * (T(1) + vector_math::erf(x * kSqrtHalf));
  return distribution + x * kDensityAtZero * vector_math::exp(T(-0.5) * x * x);
}

template <class T>
T silu_slope(T x) {
  const T s = vector_math::sigmoid(x);
  return s * (1 + x * (1 - s));
}

}  // namespace

BlockKernel binary_kernel(ElementwiseOp op, DType compute) {
  using enum ElementwiseOp;
  switch (op) {
    case kAdd:
      return block_kernel([](auto a, auto b) { return sum_of(a, b); }, compute);
    case kSub:
      return block_kernel([](auto a, auto b) { return difference_of(a, b); }, compute);
    case kMul:
      return block_kernel([](auto a, auto b) { return product_of(a, b); }, compute);
    case kDiv:
      return float_block_kernel([](auto a, auto b) { return a / b; }, compute);
    case kPow:
      return block_kernel([](auto a, auto b) { return power(a, b); }, compute);
    case kMaximum:
      return block_kernel([](auto a, auto b) { return larger(a, b); }, compute);
    case kMinimum:
      return block_kernel([](auto a, auto b) { return smaller(a, b); }, compute);
    case kLeakyRelu:
      return float_block_kernel([](auto x, auto slope) { return x > 0 ? x : x * slope; }, compute);
    case kReluBackward:
      return block_kernel([](auto grad, auto y) { return y > 0 ? grad : decltype(grad)(0); }, compute);

    case kSigmoidBackward:
      return float_block_kernel([](auto grad, auto y) { return grad * (1 - y) * y; }, compute);
    case kTanhBackward:
      return float_block_kernel([](auto grad, auto y) { return grad * (1 - y * y); }, compute);
    case kGeluBackward:
      return float_block_kernel([](auto grad, auto x) { return grad * gelu_slope(x); }, compute);
    case kSiluBackward:
      return float_block_kernel([](auto grad, auto x) { return grad * silu_slope(x); }, compute);

    case kEq:
      return block_kernel([](auto a, auto b) { return a == b; }, compute);
    case kNe:
      return block_kernel([](auto a, auto b) { return a != b; }, compute);
    case kLt:
      return block_kernel([](auto a, auto b) { return a < b; }, compute);
    case kLe:
      return block_kernel([](auto a, auto b) { return a <= b; }, compute);
    case kGt:
      return block_kernel([](auto a, auto b) { return a > b; }, compute);
    case kGe:
      return block_kernel([](auto a, auto b) { return a >= b; }, compute);
    case kLogicalAnd:
      return block_kernel([](auto a, auto b) { return a != 0 && b != 0; }, compute);
    case kLogicalOr:
      return block_kernel([](auto a, auto b) { return a != 0 || b != 0; }, compute);
    default:
      return {};
  }
}

BlockKernel ternary_kernel(ElementwiseOp op, DType compute) {
  using enum ElementwiseOp;
  switch (op) {
    case kAddScaled:
      return block_kernel([](auto a, auto b, auto alpha) { return sum_of(a, product_of(alpha, b)); },
                          compute);
    case kClamp:
      return block_kernel([](auto x, auto low, auto high) { return smaller(larger(x, low), high); }, compute);
    case kLerp:
      return float_block_kernel([](auto a, auto b, auto weight) { return between(a, b, weight); }, compute);
    case kWhere:
      return block_kernel([](auto a, auto b, auto condition) { return condition != 0 ? a : b; }, compute);
    default:
      return {};
  }
}

}  // namespace taper::ops
