#include <cmath>
#include <limits>

#include "taper/ops/elementwise/block_kernel.h"
#include "taper/ops/elementwise/vector_math.h"

namespace taper::ops {
namespace {

template <class T>
inline constexpr bool is_integer = std::is_integral_v<T>;

/// Two's complement: -INT64_MIN is INT64_MIN, as in PyTorch, and not undefined.
template <class T>
T negative(T x) {
  if constexpr (is_integer<T>)
    return T(-uint64_t(x));
  else
    return -x;
}

template <class T>
T squared(T x) {
  if constexpr (is_integer<T>)
    return T(uint64_t(x) * uint64_t(x));
  else
    return x * x;
}

template <class T>
T rounded_down(T x) {
  if constexpr (is_integer<T>)
    return x;
  else
    return std::floor(x);
}

template <class T>
T rounded_up(T x) {
  if constexpr (is_integer<T>)
    return x;
  else
    return std::ceil(x);
}

template <class T>
T rounded_to_even(T x) {
  if constexpr (is_integer<T>)
    return x;
  else
    return std::nearbyint(x);
}

template <class T>
T gelu_of(T x) {
  return T(0.5) * x * (T(1) + vector_math::erf(x * T(0.70710678118654752440)));
}

template <class T>
bool infinite(T x) {
  if constexpr (is_integer<T>)
    return false;
  else
    return std::fabs(x) == std::numeric_limits<T>::infinity();
}

template <class T>
bool finite(T x) {
  if constexpr (is_integer<T>)
    return true;
  else
    return std::fabs(x) < std::numeric_limits<T>::infinity();
}

}  // namespace

BlockKernel unary_kernel(ElementwiseOp op, DType compute) {
  using enum ElementwiseOp;
  namespace vm = vector_math;
  switch (op) {
    case kNeg:
      return block_kernel([](auto x) { return negative(x); }, compute);
    case kAbs:
      return block_kernel([](auto x) { return std::abs(x); }, compute);
    case kSign:
      return block_kernel([](auto x) { return decltype(x)(int(x > 0) - int(x < 0)); }, compute);
    case kSquare:
      return block_kernel([](auto x) { return squared(x); }, compute);
    case kRelu:
      return block_kernel([](auto x) { return x < 0 ? decltype(x)(0) : x; }, compute);
    case kFloor:
      return block_kernel([](auto x) { return rounded_down(x); }, compute);
    case kCeil:
      return block_kernel([](auto x) { return rounded_up(x); }, compute);
    case kRound:
      return block_kernel([](auto x) { return rounded_to_even(x); }, compute);

    case kExp:
      return float_block_kernel([](auto x) { return vm::exp(x); }, compute);
    case kLog:
      return float_block_kernel([](auto x) { return vm::log(x); }, compute);
    case kLog1p:
      return float_block_kernel([](auto x) { return std::log1p(x); }, compute);
    case kSqrt:
      return float_block_kernel([](auto x) { return std::sqrt(x); }, compute);
    case kRsqrt:
      return float_block_kernel([](auto x) { return 1 / std::sqrt(x); }, compute);
    case kReciprocal:
      return float_block_kernel([](auto x) { return 1 / x; }, compute);
    case kSigmoid:
      return float_block_kernel([](auto x) { return vm::sigmoid(x); }, compute);
    case kTanh:
      return float_block_kernel([](auto x) { return vm::tanh(x); }, compute);
    case kGelu:
      return float_block_kernel([](auto x) { return gelu_of(x); }, compute);
    case kSilu:
      return float_block_kernel([](auto x) { return x * vm::sigmoid(x); }, compute);
    case kSin:
      return float_block_kernel([](auto x) { return std::sin(x); }, compute);
    case kCos:
      return float_block_kernel([](auto x) { return std::cos(x); }, compute);
    case kErf:
      return float_block_kernel([](auto x) { return vm::erf(x); }, compute);

    case kLogicalNot:
      return block_kernel([](auto x) { return x == 0; }, compute);
    case kIsNan:
      return block_kernel([](auto x) { return x != x; }, compute);
    case kIsInf:
      return block_kernel([](auto x) { return infinite(x); }, compute);
    case kIsFinite:
      return block_kernel([](auto x) { return finite(x); }, compute);
    default:
      return {};
  }
}

}  // namespace taper::ops
