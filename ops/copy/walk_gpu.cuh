#pragma once
// From the index of an element to its offset in memory, for tensors of any size and strides. For .cu files
// only. Indices below 2^31 are divided by multiplication; larger tensors pay for real divisions.

#include <cstdint>

#include "taper/ops/copy/strided_gpu.cuh"

namespace taper::ops {

/// Division of numbers below `limit` by one fixed divisor.
class GpuDivisor {
 public:
  GpuDivisor() = default;
  GpuDivisor(int64_t divisor, int64_t limit) : divisor_(divisor > 0 ? divisor : 1) {
    is_fast_ = limit <= INT32_MAX && divisor_ <= INT32_MAX;
    if (is_fast_) fast_ = FastDivisor(uint32_t(divisor_));
  }
  /// Returns n / divisor. Sets `rest` to n % divisor.
  __device__ __forceinline__ int64_t divide(int64_t n, int64_t& rest) const {
    const int64_t quotient = is_fast_ ? int64_t(fast_.quotient(uint32_t(n))) : n / divisor_;
    rest = n - quotient * divisor_;
    return quotient;
  }

 private:
  int64_t divisor_ = 1;
  FastDivisor fast_;
  bool is_fast_ = true;
};

/// The dimensions of a StridedLoop, and the strides of its first kOperands operands, as kernels take them.
template <int kOperands>
struct GpuWalk {
  int64_t numel = 1;
  int dims = 1;
  GpuDivisor sizes[kMaxDims];
  int64_t strides[kOperands][kMaxDims] = {};

  GpuWalk() = default;
  explicit GpuWalk(const StridedLoop& loop) : numel(loop.numel), dims(int(loop.shape.size())) {
    for (int axis = 0; axis < dims; ++axis) {
      sizes[axis] = GpuDivisor(loop.shape[axis], loop.numel);
      for (int k = 0; k < kOperands; ++k) strides[k][axis] = loop.operands[size_t(k)].strides[axis];
    }
  }

  /// Returns the offset, in elements, of operand k's element `index`.
  __device__ __forceinline__ int64_t offset(int64_t index, int k = 0) const {
    int64_t result = 0;
#pragma unroll 1
    for (int axis = dims - 1; axis > 0; --axis) {
      int64_t rest;
      index = sizes[axis].divide(index, rest);
      result += rest * strides[k][axis];
    }
    return result + index * strides[k][0];
  }
};

}  // namespace taper::ops
