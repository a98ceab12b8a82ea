#include <optional>

#include "taper/ops/elementwise/elementwise.cuh"
#include "taper/ops/elementwise/elementwise_gpu.h"

namespace taper::ops {
namespace {

constexpr int kAnyPack = 4;

template <int kInputs>
constexpr ElementwiseOp kFirstOp = kInputs == 1   ? kFirstUnary
                                   : kInputs == 2 ? kFirstBinary
                                                  : kFirstTernary;
template <int kInputs>
constexpr ElementwiseOp kLastOp = kInputs == 1   ? kLastUnary
                                  : kInputs == 2 ? kLastBinary
                                                 : kLastTernary;

/// Sets `result` to op(inputs...), where `op` is known only at run time, and is `first` or later in the list.
template <ElementwiseOp first, class T, class... Inputs>
__device__ __forceinline__ void evaluate_from(ElementwiseOp op, T& result, Inputs... inputs) {
  if constexpr (std::is_floating_point_v<T> || !needs_float(first)) {
    if (op == first) {
      result = T(evaluate<first>(inputs...));
      return;
    }
  }
  if constexpr (first < kLastOp<sizeof...(Inputs)>) evaluate_from<next(first)>(op, result, inputs...);
}

/// All threads take one path. Not inlined: compiling every formula four times would take minutes.
template <class T, class... Inputs>
__device__ __attribute__((noinline)) T evaluate_any(ElementwiseOp op, Inputs... inputs) {
  T result = 0;
  evaluate_from<kFirstOp<sizeof...(Inputs)>>(op, result, inputs...);
  return result;
}

/// out[i] = op(inputs[0][i], ...) for tensors of any dtypes and strides, computed in T. One thread for each
/// pack of 4, 256 to a block. Moves every element once. Limited by memory bandwidth for rows, by index
/// arithmetic for scattered elements.
template <class T, int kInputs>
__global__ void __launch_bounds__(kLoopBlock)
    elementwise_any(ElementwiseOp op, ElementwiseLoop<kInputs, T> loop) {
  const uint32_t first = (blockIdx.x * blockDim.x + threadIdx.x) * kAnyPack;
  if (first >= loop.numel) return;
  const int count = min(kAnyPack, int(loop.numel - first));
  T inputs[kInputs][kAnyPack] = {}, result[kAnyPack];
#pragma unroll
  for (int k = 0; k < kInputs; ++k) {
    if (loop.is_number[k]) {
#pragma unroll
      for (int i = 0; i < kAnyPack; ++i) inputs[k][i] = loop.numbers[k];
    } else {
      load_pack(loop, loop.operands[k + 1], first, count, inputs[k]);
    }
  }
#pragma unroll
  for (int i = 0; i < kAnyPack; ++i) {
    if constexpr (kInputs == 1) result[i] = evaluate_any<T>(op, inputs[0][i]);
    if constexpr (kInputs == 2) result[i] = evaluate_any<T>(op, inputs[0][i], inputs[1][i]);
    if constexpr (kInputs == 3) result[i] = evaluate_any<T>(op, inputs[0][i], inputs[1][i], inputs[2][i]);
  }
  store_pack(loop, loop.operands[0], first, count, result);
}

/// Returns the dtype for launch_rows, or nothing if the tensors' dtypes differ or they compute in another
/// type.
std::optional<DType> common_dtype(ElementwiseOp op, const Tensor& out, std::span<const Tensor> inputs) {
  std::optional<DType> common;
  if (!is_predicate(op)) common = out.dtype();
  for (const Tensor& input : inputs) {
    if (input.device().is_cpu()) continue;
    if (common && *common != input.dtype()) return {};
    common = input.dtype();
  }
  return common == kFloat32 || (common && is_half(*common)) ? common : std::nullopt;
}

/// Returns whether the tensors of the loop lie as launch_rows needs them, in packs of `pack`.
template <int kInputs>
bool lies_in_rows(const StridedLoop& loop, std::span<const Tensor> inputs, int pack) {
  bool result = true;
  for_each_gpu_loop<kInputs + 1>(loop, pack, [&](const GpuLoop<kInputs + 1>& part) {
    result = result && part.operands[0].access == PackAccess::kRow;
    for (int k = 0; k < kInputs; ++k) {
      if (inputs[size_t(k)].device().is_cpu()) continue;
      result = result && part.operands[k + 1].access != PackAccess::kScattered;
    }
  });
  return result;
}

template <class T>
T number_of(const Tensor& x) {
  return dispatch(x.dtype(), [&]<class From>() { return T(*static_cast<const From*>(x.data_ptr())); });
}

template <int kInputs, class T>
void launch(ElementwiseOp op, const Tensor& out, std::span<const Tensor> inputs) {
  std::array<const Tensor*, kInputs + 1> tensors = {&out};
  for (int k = 0; k < kInputs; ++k) tensors[size_t(k) + 1] = &inputs[size_t(k)];
  const StridedLoop loop(tensors);
  std::optional<DType> stored;
  if constexpr (std::is_same_v<T, float>) {
    stored = common_dtype(op, out, inputs);
    if (stored && !lies_in_rows<kInputs>(loop, inputs, row_pack(*stored))) stored.reset();
  }
  ElementwiseLoop<kInputs, T> part;
  for (int k = 0; k < kInputs; ++k) {
    const Tensor& input = inputs[size_t(k)];
    part.is_number[k] = input.device().is_cpu();
    part.numbers[k] = part.is_number[k] ? number_of<T>(input) : T(0);
  }
  const int pack = stored ? row_pack(*stored) : kAnyPack;
  for_each_gpu_loop<kInputs + 1>(loop, pack, [&](const GpuLoop<kInputs + 1>& each) {
    static_cast<GpuLoop<kInputs + 1>&>(part) = each;
    if constexpr (std::is_same_v<T, float>) {
      if (stored) return launch_rows(op, part, *stored);
    }
    gpu::launch(name(op).data(), elementwise_any<T, kInputs>,
                {.grid = loop_grid(part.numel, pack), .block = kLoopBlock}, op, part);
  });
}

}  // namespace

void elementwise_gpu(ElementwiseOp op, const Tensor& out, std::span<const Tensor> inputs, DType compute) {
  const gpu::DeviceGuard guard(out.device().index);
  dispatch_block_type(compute, [&]<class T>() {
    switch (arity(op)) {
      case 1:
        return launch<1, T>(op, out, inputs);
      case 2:
        return launch<2, T>(op, out, inputs);
      default:
        return launch<3, T>(op, out, inputs);
    }
  });
}

}  // namespace taper::ops
