#pragma once
// What the files of elementwise kernels share. For .cu files only.

#include "taper/ops/copy/strided_gpu.cuh"
#include "taper/ops/elementwise/formulas.h"

namespace taper::ops {

/// A loop as elementwise kernels take it. operands[0] is the result; operands[k + 1] is the k-th input unless
/// that is a number.
template <int kInputs, class T>
struct ElementwiseLoop : GpuLoop<kInputs + 1> {
  bool is_number[kInputs];
  T numbers[kInputs];
};

/// Sets result[i] to op(inputs[0][i], ...), as T: 1 or 0 for predicates.
template <ElementwiseOp op, class T, int kPack, int kInputs>
__device__ __forceinline__ void evaluate_pack(const T (&inputs)[kInputs][kPack], T (&result)[kPack]) {
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    if constexpr (kInputs == 1) result[i] = T(evaluate<op>(inputs[0][i]));
    if constexpr (kInputs == 2) result[i] = T(evaluate<op>(inputs[0][i], inputs[1][i]));
    if constexpr (kInputs == 3) result[i] = T(evaluate<op>(inputs[0][i], inputs[1][i], inputs[2][i]));
  }
}

// Launch the kernels of elementwise_rows.cuh, one file for each number of inputs. Tensors are of dtype
// `stored` (f32, f16 or bf16; a predicate's result is bool) and lie in rows or repeat.
void launch_rows(ElementwiseOp op, const ElementwiseLoop<1, float>& loop, DType stored);
void launch_rows(ElementwiseOp op, const ElementwiseLoop<2, float>& loop, DType stored);
void launch_rows(ElementwiseOp op, const ElementwiseLoop<3, float>& loop, DType stored);

/// Returns how many elements of `stored` a thread's 16 bytes hold.
inline int row_pack(DType stored) {
  return int(16 / size_of(stored));
}

}  // namespace taper::ops
