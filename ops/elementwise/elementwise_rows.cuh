#pragma once
// The fast elementwise kernels, one for each operation and dtype. All tensors are of that dtype and lie in
// aligned rows or repeat. PyTorch's counterpart: ATen/native/cuda/CUDALoops.cuh,
// vectorized_elementwise_kernel. For .cu files only.

#include "taper/ops/elementwise/elementwise.cuh"

namespace taper::ops {

/// The elements from `first` on, of a row or a repeated element, as they are stored.
template <class Stored, int kPack, int kOperands>
__device__ __forceinline__ void load_row(const GpuLoop<kOperands>& loop, const GpuOperand& x, uint32_t first,
                                         int count, Pack<Stored, kPack>& pack) {
  const Stored* data = reinterpret_cast<const Stored*>(x.data) + loop.offset(x, first);
  if (x.access == PackAccess::kRepeat) {
    const Stored value = *data;
#pragma unroll
    for (int i = 0; i < kPack; ++i) pack.values[i] = value;
  } else if (count == kPack) {
    pack = *reinterpret_cast<const Pack<Stored, kPack>*>(data);
  } else {
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      if (i < count) pack.values[i] = data[i];
    }
  }
}

/// out[i] = op(inputs[0][i], ...). One thread for each pack of 16 bytes, 256 to a block. Moves every element
/// once, and simple operations are limited by that. Issues all loads before the first conversion, so that
/// they wait for memory together.
template <ElementwiseOp op, class Stored>
__global__ void __launch_bounds__(kLoopBlock) elementwise_rows(ElementwiseLoop<arity(op), float> loop) {
  constexpr int kInputs = arity(op), kPack = 16 / sizeof(Stored);
  const uint32_t first = (blockIdx.x * blockDim.x + threadIdx.x) * kPack;
  if (first >= loop.numel) return;
  const int count = min(kPack, int(loop.numel - first));
  Pack<Stored, kPack> packs[kInputs] = {};
#pragma unroll
  for (int k = 0; k < kInputs; ++k) {
    if (!loop.is_number[k]) load_row(loop, loop.operands[k + 1], first, count, packs[k]);
  }
  float inputs[kInputs][kPack], result[kPack];
#pragma unroll
  for (int k = 0; k < kInputs; ++k) {
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      inputs[k][i] = loop.is_number[k] ? loop.numbers[k] : device_cast<float>(packs[k].values[i]);
    }
  }
  evaluate_pack<op>(inputs, result);
  using Out = std::conditional_t<is_predicate(op), bool, Stored>;
  Pack<Out, kPack> out;
#pragma unroll
  for (int i = 0; i < kPack; ++i) out.values[i] = device_cast<Out>(result[i]);
  Out* data = reinterpret_cast<Out*>(loop.operands[0].data) + loop.offset(loop.operands[0], first);
  if (count == kPack) {
    *reinterpret_cast<Pack<Out, kPack>*>(data) = out;
  } else {
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      if (i < count) data[i] = out.values[i];
    }
  }
}

template <ElementwiseOp op>
void launch_rows(const ElementwiseLoop<arity(op), float>& loop, DType stored) {
  const auto kernel = stored == kFloat32   ? elementwise_rows<op, float>
                      : stored == kFloat16 ? elementwise_rows<op, __half>
                                           : elementwise_rows<op, __nv_bfloat16>;
  gpu::launch(name(op).data(), kernel, {.grid = loop_grid(loop.numel, row_pack(stored)), .block = kLoopBlock},
              loop);
}

/// Launches the kernel of an `op` from `first` to `last`.
template <ElementwiseOp first, ElementwiseOp last>
void launch_rows(ElementwiseOp op, const ElementwiseLoop<arity(first), float>& loop, DType stored) {
  dispatch_op<first, last>(op, [&]<ElementwiseOp each>() { launch_rows<each>(loop, stored); });
}

}  // namespace taper::ops
