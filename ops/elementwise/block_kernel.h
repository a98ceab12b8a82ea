#pragma once
// A block kernel applies one operation to contiguous arrays of one type. elementwise_cpu.cpp loads, converts
// and stores for all of them.

#include <cstdint>
#include <utility>

#include "taper/ops/elementwise/formulas.h"

namespace taper::ops {

/// result[i] = f(inputs[0][i], ...) for `count` elements. `result` may be one of the inputs.
using BlockFunction = void (*)(void* result, const void* const* inputs, int64_t count);

struct BlockKernel {
  BlockFunction function = nullptr;
  bool is_predicate = false;  ///< results are bool, else of the inputs' type
};

template <ElementwiseOp op, class T, size_t... k>
BlockKernel typed_kernel(std::index_sequence<k...>) {
  using Result = std::conditional_t<is_predicate(op), bool, T>;
  const auto loop = [](void* result, const void* const* inputs, int64_t count) {
    Result* const out = static_cast<Result*>(result);
    const T* const in[] = {static_cast<const T*>(inputs[k])...};
    // The result may be an input itself, but never a shifted one, so iterations are independent.
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) out[i] = evaluate<op>(in[k][i]...);
  };
  return {loop, is_predicate(op)};
}

template <ElementwiseOp op>
BlockKernel block_kernel(DType compute) {
  constexpr auto inputs = std::make_index_sequence<size_t(arity(op))>();
  if (compute == kFloat64) return typed_kernel<op, double>(inputs);
  if constexpr (!needs_float(op)) {
    if (compute == kInt64) return typed_kernel<op, int64_t>(inputs);
  }
  return typed_kernel<op, float>(inputs);
}

/// Returns the kernel of an `op` from `first` to `last`.
template <ElementwiseOp first, ElementwiseOp last>
BlockKernel block_kernel(ElementwiseOp op, DType compute) {
  BlockKernel kernel;
  dispatch_op<first, last>(op, [&]<ElementwiseOp each>() { kernel = block_kernel<each>(compute); });
  return kernel;
}

// By the number of inputs that `op` takes.
BlockKernel unary_kernel(ElementwiseOp op, DType compute);
BlockKernel binary_kernel(ElementwiseOp op, DType compute);
BlockKernel ternary_kernel(ElementwiseOp op, DType compute);

}  // namespace taper::ops
