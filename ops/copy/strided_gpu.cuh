#pragma once
// How the GPU walks tensors of any strides and dtype: the counterpart of strided_loop.h, shared by copies and
// elementwise kernels. For .cu files only.
//
// Each thread takes kPack neighbouring elements of the loop. An operand lies in memory in one of three ways:
// - The elements are neighbours in memory: one load of up to 16 bytes moves them.
// - One element repeats (a broadcast): one load serves all.
// - Else each element computes its own offset, by dividing its index by the loop's sizes.
// The way is one value per operand, equal for the whole launch, so a warp never diverges on it. Elements are
// converted to the compute type as they are loaded, and from it as they are stored. Indices are 32 bits wide;
// larger loops are launched in parts. PyTorch's counterparts: ATen/native/cuda/CUDALoops.cuh,
// MemoryAccess.cuh, OffsetCalculator.cuh.

#include <cstdint>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/error.h"
#include "taper/core/gpu/launch.h"
#include "taper/ops/copy/strided_loop.h"
#include "taper/ops/device_dtype.cuh"

namespace taper::ops {

// ------------------------------------------------------------------------------------------ the loop

/// Division of numbers below 2^31 by one fixed divisor, as a multiplication (Granlund and Montgomery,
/// "Division by invariant integers using multiplication", 1994).
struct FastDivisor {
  uint32_t divisor = 1, multiplier = 1, shift = 0;

  FastDivisor() = default;
  /// 1 <= divisor < 2^31.
  explicit FastDivisor(uint32_t divisor_) : divisor(divisor_) {
    while (shift < 32 && (uint64_t(1) << shift) < divisor) ++shift;
    multiplier = uint32_t(((uint64_t(1) << 32) * ((uint64_t(1) << shift) - divisor)) / divisor + 1);
  }
  __device__ __forceinline__ uint32_t quotient(uint32_t n) const {
    return (__umulhi(n, multiplier) + n) >> shift;
  }
};

/// How the elements of one pack lie in memory.
enum class PackAccess : uint8_t { kRow, kRepeat, kScattered };

struct GpuOperand {
  char* data = nullptr;
  DType dtype = kFloat32;
  PackAccess access = PackAccess::kScattered;
  int32_t strides[kMaxDims] = {};
};

/// A loop of fewer than 2^31 elements, passed to kernels by value.
template <int kOperands>
struct GpuLoop {
  uint32_t numel = 0;
  int dims = 1;
  FastDivisor sizes[kMaxDims];
  GpuOperand operands[kOperands];  ///< operands[0] is written

  /// Returns the offset, in elements, of the loop's element `index` in `x`.
  __device__ __forceinline__ int32_t offset(const GpuOperand& x, uint32_t index) const {
    int32_t result = 0;
#pragma unroll 1
    for (int axis = dims - 1; axis > 0; --axis) {
      const uint32_t rest = sizes[axis].quotient(index);
      result += int32_t(index - rest * sizes[axis].divisor) * x.strides[axis];
      index = rest;
    }
    return result + int32_t(index) * x.strides[0];
  }
};

/// kPack elements that one memory instruction moves. (More than 16 bytes take two.)
template <class T, int kPack>
struct alignas(sizeof(T) * kPack < 16 ? sizeof(T) * kPack : 16) Pack {
  T values[kPack];
};

/// Sets values[i] to the operand's element first + i, converted to T, for i < count.
template <class T, int kPack, int kOperands>
__device__ __forceinline__ void load_pack(const GpuLoop<kOperands>& loop, const GpuOperand& x, uint32_t first,
                                          int count, T (&values)[kPack]) {
  dispatch_device(x.dtype, [&]<class Stored>() {
    const Stored* data = reinterpret_cast<const Stored*>(x.data);
    if (x.access == PackAccess::kRow && count == kPack) {
      const auto pack = *reinterpret_cast<const Pack<Stored, kPack>*>(data + loop.offset(x, first));
#pragma unroll
      for (int i = 0; i < kPack; ++i) values[i] = device_cast<T>(pack.values[i]);
    } else if (x.access == PackAccess::kRepeat) {
      const T value = device_cast<T>(data[loop.offset(x, first)]);
#pragma unroll
      for (int i = 0; i < kPack; ++i) values[i] = value;
    } else {
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        if (i < count) values[i] = device_cast<T>(data[loop.offset(x, first + uint32_t(i))]);
      }
    }
  });
}

/// Sets the operand's element first + i to values[i], converted to the operand's dtype, for i < count.
template <class T, int kPack, int kOperands>
__device__ __forceinline__ void store_pack(const GpuLoop<kOperands>& loop, const GpuOperand& y,
                                           uint32_t first, int count, const T (&values)[kPack]) {
  dispatch_device(y.dtype, [&]<class Stored>() {
    Stored* data = reinterpret_cast<Stored*>(y.data);
    if (y.access == PackAccess::kRow && count == kPack) {
      Pack<Stored, kPack> pack;
#pragma unroll
      for (int i = 0; i < kPack; ++i) pack.values[i] = device_cast<Stored>(values[i]);
      *reinterpret_cast<Pack<Stored, kPack>*>(data + loop.offset(y, first)) = pack;
    } else {
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        if (i < count) data[loop.offset(y, first + uint32_t(i))] = device_cast<Stored>(values[i]);
      }
    }
  });
}

// ------------------------------------------------------------------------------------------ launching

inline constexpr unsigned kLoopBlock = 256;  // threads

/// Returns the grid with one thread for each pack.
inline unsigned loop_grid(uint32_t numel, int pack) {
  const uint32_t packs = ceil_div(numel, uint32_t(pack));
  return ceil_div(packs, kLoopBlock);
}

namespace detail {

/// Returns whether every index and offset of the loop is below `limit`.
inline bool fits(const StridedLoop& loop, int64_t limit) {
  if (loop.numel > limit) return false;
  for (int k = 0; k < loop.count; ++k) {
    int64_t last = 0;
    for (int64_t axis = 0; axis < loop.shape.size(); ++axis) {
      last += (loop.shape[axis] - 1) * loop.operands[size_t(k)].strides[axis];
    }
    if (last >= limit) return false;
  }
  return true;
}

template <int kOperands>
GpuLoop<kOperands> gpu_loop(const StridedLoop& loop, int pack) {
  GpuLoop<kOperands> result;
  const int64_t inner = loop.shape.size() - 1;
  // A pack must not continue in the next row; the last pack of a single row may be short.
  const bool whole_packs = inner == 0 || loop.shape[inner] % pack == 0;
  result.numel = uint32_t(loop.numel);
  result.dims = int(loop.shape.size());
  for (int axis = 0; axis < result.dims; ++axis) {
    result.sizes[axis] = FastDivisor(uint32_t(loop.shape[axis]));
  }
  for (int k = 0; k < kOperands; ++k) {
    const LoopOperand& from = loop.operands[size_t(k)];
    GpuOperand& to = result.operands[k];
    to.data = from.data;
    to.dtype = from.dtype;
    const size_t pack_bytes = std::min<size_t>(size_of(from.dtype) * size_t(pack), 16);
    bool aligned = reinterpret_cast<uintptr_t>(from.data) % pack_bytes == 0;
    for (int axis = 0; axis < result.dims; ++axis) {
      to.strides[axis] = int32_t(from.strides[axis]);
      aligned = aligned && (axis == inner ||
                            from.strides[axis] * int64_t(size_of(from.dtype)) % int64_t(pack_bytes) == 0);
    }
    if (whole_packs && aligned && from.strides[inner] == 1) to.access = PackAccess::kRow;
    if (whole_packs && from.strides[inner] == 0) to.access = PackAccess::kRepeat;
  }
  return result;
}

}  // namespace detail

/// The largest loop that 31 bits can index, with room for the last pack.
inline constexpr int64_t kMaxGpuLoop = INT32_MAX - 1024;

/// Calls body(GpuLoop<kOperands>) for the loop, in parts whose elements and offsets stay below `limit`.
/// `loop` has kOperands operands and at least one element.
template <int kOperands, class Body>
void for_each_gpu_loop(const StridedLoop& loop, int pack, Body&& body, int64_t limit = kMaxGpuLoop) {
  if (detail::fits(loop, limit)) return body(detail::gpu_loop<kOperands>(loop, pack));
  int64_t longest = 0;
  for (int64_t axis = 1; axis < loop.shape.size(); ++axis) {
    if (loop.shape[axis] > loop.shape[longest]) longest = axis;
  }
  const int64_t half = loop.shape[longest] / 2;
  StridedLoop part = loop;
  part.shape[longest] = half;
  part.numel = loop.numel / loop.shape[longest] * half;
  for_each_gpu_loop<kOperands>(part, pack, body, limit);
  part.shape[longest] = loop.shape[longest] - half;
  part.numel = loop.numel - part.numel;
  for (int k = 0; k < loop.count; ++k) {
    LoopOperand& operand = part.operands[size_t(k)];
    operand.data += half * operand.strides[longest] * int64_t(size_of(operand.dtype));
  }
  for_each_gpu_loop<kOperands>(part, pack, body, limit);
}

}  // namespace taper::ops
