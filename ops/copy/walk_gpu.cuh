#pragma once
// From the number of an element to its place in memory, for tensors of any size and strides. For .cu files
// only. Numbers below 2^31 are divided by multiplication; larger tensors pay for real divisions.

#include <cstdint>

#include "taper/ops/copy/strided_gpu.cuh"

namespace taper::ops {

/// Division of numbers below `limit` by one divisor.
class GpuDivisor {
 public:
  GpuDivisor() = default;
  GpuDivisor(int64_t divisor, int64_t limit) : divisor_(divisor > 0 ? divisor : 1) {
    is_fast_ = limit <= INT32_MAX && divisor_ <= INT32_MAX;
    if (is_fast_) fast_ = FastDivisor(uint32_t(divisor_));
  }
  /// n / divisor, and n % divisor in `rest`.
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

/// The dimensions of a StridedLoop as kernels take them, for its first kOperands operands.
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

  /// Elements from operand k's first to its element `index`.
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
