#pragma once
// Folding one value of each thread into one: the last steps of every reduction. For .cu files only.
//
// warp_reduce folds the 32 lanes of a warp by shuffles, without shared memory or barriers. block_reduce folds
// a whole block. Both give every thread the result, equal to the bit, because they fold in the order of the
// threads. So `op(a, b)` has to be associative up to rounding, but not commutative: it may be Welford's merge
// or "the first of the largest". The idea: Harris, "Optimizing parallel reduction in CUDA", 2007, and
// Luitjens, "Faster parallel reductions on Kepler", 2014. PyTorch's counterpart:
// ATen/native/cuda/block_reduce.cuh.

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "taper/core/gpu/simt.h"

namespace taper::ops {

inline constexpr int kWarp = 32;
inline constexpr unsigned kFullWarp = 0xffffffffu;

namespace fold {

struct Sum {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
/// A NaN beats a number.
struct Max {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return b > a || b != b ? b : a;
  }
};
struct Min {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return b < a || b != b ? b : a;
  }
};

}  // namespace fold

/// Returns the value of the lane whose number differs in the bits of `lane_mask`. T: any plain struct or
/// number whose size is a multiple of 4 bytes; moves in words of 8 or 4 bytes.
template <class T>
__device__ __forceinline__ T shuffle_xor(T value, int lane_mask) {
  using Word = std::conditional_t<sizeof(T) % 8 == 0, unsigned long long, unsigned>;
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 4 == 0);
  Word words[sizeof(T) / sizeof(Word)];
  memcpy(words, &value, sizeof(T));
  for (Word& word : words) word = __shfl_xor_sync(kFullWarp, word, lane_mask);
  memcpy(&value, words, sizeof(T));
  return value;
}

/// Folds the values of each group of `lanes` neighbouring lanes, a power of two up to 32. All lanes of the
/// warp take part.
template <class T, class Op>
__device__ __forceinline__ T fold_lanes(T value, int lanes, Op op) {
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    if (step >= lanes) break;  // equal for the whole launch
    const T other = shuffle_xor(value, step);
    const bool comes_second = (threadIdx.x & unsigned(step)) != 0;
    value = comes_second ? op(other, value) : op(value, other);
  }
  return value;
}

/// Folds the values of a warp, or of each group of `kLanes` neighbours in it.
template <int kLanes = kWarp, class T, class Op>
__device__ __forceinline__ T warp_reduce(T value, Op op) {
  return fold_lanes(value, kLanes, op);
}

/// Folds the values of all threads of a one-dimensional block whose size is a multiple of 32. Takes two
/// barriers, the second so that it may be called again at once, and 32 values of shared memory.
template <class T, class Op>
__device__ __forceinline__ T block_reduce(T value, Op op) {
  value = warp_reduce(value, op);
  const unsigned warps = blockDim.x / kWarp;
  if (warps == 1) return value;
  __shared__ __align__(16) unsigned char storage[kWarp * sizeof(T)];
  T* of_warp = reinterpret_cast<T*>(storage);
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = value;
  __syncthreads();
  // Every thread folds them for itself: a warp reads one word for all lanes, which is cheaper than five more
  // shuffles.
  value = of_warp[0];
  for (unsigned warp = 1; warp < warps; ++warp) value = op(value, of_warp[warp]);
  __syncthreads();
  return value;
}

}  // namespace taper::ops
