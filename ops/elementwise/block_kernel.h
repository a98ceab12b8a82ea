#pragma once
// A block kernel applies one function to contiguous arrays of one type. A lambda is all that an op adds:
//   block_kernel([](auto a, auto b) { return a + b; }, compute)
// Loading, converting and storing are shared by all ops (elementwise_cpu.cpp).

#include <cstdint>
#include <type_traits>
#include <utility>

#include "taper/ops/elementwise/elementwise_op.h"

namespace taper::ops {

/// result[i] = f(inputs[0][i], ...) for `count` elements. `result` may be one of the inputs.
using BlockFunction = void (*)(void* result, const void* const* inputs, int64_t count);

struct BlockKernel {
  BlockFunction function = nullptr;
  bool is_predicate = false;  ///< results are bool, else of the inputs' type
};

/// F: a lambda without captures that takes as many values of type T as there are indices k.
template <class F, class T, size_t... k>
BlockKernel typed_kernel(std::index_sequence<k...>) {
  using Returned = std::invoke_result_t<F, std::conditional_t<k == k, T, void>...>;
  using Result = std::conditional_t<std::is_same_v<Returned, bool>, bool, T>;
  const auto loop = [](void* result, const void* const* inputs, int64_t count) {
    Result* const out = static_cast<Result*>(result);
    const T* const in[] = {static_cast<const T*>(inputs[k])...};
    // The result may be an input itself, but never a shifted one: iterations are independent.
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) out[i] = Result(F()(in[k][i]...));
  };
  return {loop, std::is_same_v<Result, bool>};
}

template <class F, class T>
BlockKernel typed_kernel() {
  constexpr size_t kArity = std::is_invocable_v<F, T> ? 1 : std::is_invocable_v<F, T, T> ? 2 : 3;
  return typed_kernel<F, T>(std::make_index_sequence<kArity>());
}

/// For functions of f32, f64 and i64.
template <class F>
BlockKernel block_kernel(F, DType compute) {
  if (compute == kFloat32) return typed_kernel<F, float>();
  if (compute == kFloat64) return typed_kernel<F, double>();
  return typed_kernel<F, int64_t>();
}

/// For functions of floating-point numbers alone; their callers never compute in i64.
template <class F>
BlockKernel float_block_kernel(F, DType compute) {
  return compute == kFloat64 ? typed_kernel<F, double>() : typed_kernel<F, float>();
}

// The ops by the number of their inputs; an empty kernel for an op of another number.
BlockKernel unary_kernel(ElementwiseOp op, DType compute);
BlockKernel binary_kernel(ElementwiseOp op, DType compute);
BlockKernel ternary_kernel(ElementwiseOp op, DType compute);

}  // namespace taper::ops
