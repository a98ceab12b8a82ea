#pragma once
// What softmax and cross entropy share on the GPU: each lane's largest element and the sum of its
// exponentials in one pass, by the threads that read the lane. For .cu files only.
//
// A lane that is a row in memory belongs to part of a warp, or to a block if it is long. Lanes that are
// columns belong to columns of threads in blocks of 32 x 8: eight threads share a lane, and 32 neighbours
// read side by side. The one-pass sum: Milakov and Gimelshein, "Online normalizer calculation for softmax",
// 2018.

#include <cmath>

#include "taper/core/base/ceil_div.h"
#include "taper/core/gpu/launch.h"
#include "taper/core/gpu/wide_store.h"
#include "taper/ops/copy/walk_gpu.cuh"
#include "taper/ops/lanes.h"
#include "taper/ops/reduce/block_reduce.cuh"
#include "taper/ops/reduce/row_gpu.cuh"

namespace taper::ops {

/// The type that a lane is computed in: f64 for f64, else f32.
template <class Stored>
using LaneType = std::conditional_t<std::is_same_v<Stored, double>, double, float>;

/// Returns exp(x). Uses the fast instruction if the result is rounded to a half type, because the rounding
/// hides its error.
template <class Stored>
__device__ __forceinline__ LaneType<Stored> lane_exp(LaneType<Stored> x) {
  if constexpr (sizeof(Stored) == 2) {
    return __expf(x);
  } else {
    return std::exp(x);
  }
}

/// The largest of some elements, and the sum of exp(x - largest). A NaN among them makes the sum NaN.
template <class Stored>
struct ExpSum {
  using T = LaneType<Stored>;
  T largest = -INFINITY;
  T sum = 0;

  __device__ __forceinline__ void add(T x) {
    raise(x);
    sum += shifted_exp(x, largest);
  }
  /// Adds neighbours, with one change of scale for all.
  template <int kCount>
  __device__ __forceinline__ void add_pack(const Stored (&values)[kCount]) {
    T best = device_cast<T>(values[0]);
#pragma unroll
    for (int i = 1; i < kCount; ++i) {
      const T x = device_cast<T>(values[i]);
      best = x > best ? x : best;
    }
    raise(best);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum += shifted_exp(device_cast<T>(values[i]), largest);
  }

 private:
  /// Returns exp(x - shift); 0 where the shift is -infinity, that is, before any element was seen.
  __device__ __forceinline__ static T shifted_exp(T x, T shift) {
    return shift == -INFINITY && x == x ? T(0) : lane_exp<Stored>(x - shift);
  }
  /// Has no branch: a branch would keep the compiler from moving later loads before it.
  __device__ __forceinline__ void raise(T x) {
    const bool higher = x > largest;
    sum *= higher ? shifted_exp(largest, x) : T(1);
    largest = higher ? x : largest;
  }
};

template <class Stored>
struct MergeExpSums {
  using T = LaneType<Stored>;
  __device__ __forceinline__ ExpSum<Stored> operator()(ExpSum<Stored> a, ExpSum<Stored> b) const {
    ExpSum<Stored> both;
    both.largest = b.largest > a.largest ? b.largest : a.largest;
    both.sum = a.sum * scale(a.largest, both.largest) + b.sum * scale(b.largest, both.largest);
    return both;
  }
  /// Returns 1 for the larger of the two, even if it is infinite.
  __device__ __forceinline__ static T scale(T own, T largest) {
    return own == largest ? T(1) : lane_exp<Stored>(own - largest);
  }
};

// ------------------------------------------------------------------------------------------ who reads what

inline constexpr unsigned kLaneBlock = 256;  // threads
inline constexpr int kLaneColumns = 32;      // columns side by side in a block
/// Blocks of a multiprocessor that kernels leave registers for. f64 needs twice as many registers, and its
/// speed does not matter.
template <class Stored>
inline constexpr int kLaneBlocks = sizeof(Stored) == 8 ? 1 : 2;

/// Lanes as kernels take them.
struct GpuLanes {
  int64_t count = 0, size = 0, inner = 1;
  int threads = 1;  ///< threads that share a lane
  GpuDivisor by_inner;

  /// Chooses rows if inner is 1, else columns.
  template <class Stored>
  static GpuLanes of(const Lanes& lanes) {
    GpuLanes result;
    result.count = lanes.count();
    result.size = lanes.size;
    result.inner = lanes.inner;
    result.by_inner = GpuDivisor(lanes.inner, result.count);
    if (lanes.inner > 1) {
      result.threads = int(kLaneBlock) / kLaneColumns;
    } else if (lanes.size > 8 * kWarp * kRowPack<Stored>) {
      result.threads = int(kLaneBlock);
    } else {
      while (result.threads < kWarp && result.threads * kRowPack<Stored> < lanes.size) result.threads *= 2;
    }
    return result;
  }

  bool in_rows() const { return inner == 1; }
  /// Returns as many blocks as hold all lanes.
  unsigned grid() const {
    const int64_t per_block = int64_t(kLaneBlock) / threads;
    return unsigned(ceil_div(count, per_block));
  }

  /// Returns this thread's lane. Sets `thread` to its number among the threads that share the lane.
  __device__ __forceinline__ int64_t lane(int& thread) const {
    const int64_t first = blockIdx.x * int64_t(blockDim.x / unsigned(threads));
    if (inner > 1) {
      thread = int(threadIdx.x) / kLaneColumns;
      return first + threadIdx.x % kLaneColumns;
    }
    thread = int(threadIdx.x) % threads;
    return first + threadIdx.x / unsigned(threads);
  }
  /// Returns the offset of the lane's first element in the tensor, in elements.
  __device__ __forceinline__ int64_t start(int64_t lane) const {
    if (inner == 1) return lane * size;
    int64_t rest;
    const int64_t outer = by_inner.divide(lane, rest);
    return outer * size * inner + rest;
  }
};

/// Folds the states of the threads that share a lane, and returns the result to each. All threads of the
/// block must call it, with columns 32 side by side.
template <class State, class Merge>
__device__ __forceinline__ State fold_lane(const GpuLanes& lanes, State state, Merge merge) {
  if (lanes.inner == 1) {
    return lanes.threads > kWarp ? block_reduce(state, merge) : fold_lanes(state, lanes.threads, merge);
  }
  __shared__ __align__(16) unsigned char storage[kLaneBlock * sizeof(State)];
  State* states = reinterpret_cast<State*>(storage);
  states[threadIdx.x] = state;
  __syncthreads();
  state = states[threadIdx.x % kLaneColumns];
  for (int i = 1; i < lanes.threads; ++i) {
    state = merge(state, states[int(threadIdx.x) % kLaneColumns + i * kLaneColumns]);
  }
  __syncthreads();
  return state;
}

/// Returns the lane's largest element and sum of exponentials, to each of its threads. x points at the lane's
/// first element.
template <class Stored>
__device__ __forceinline__ ExpSum<Stored> lane_statistics(const GpuLanes& lanes, const Stored* x, bool exists,
                                                          int thread) {
  using T = LaneType<Stored>;
  ExpSum<Stored> state;
  if (exists && lanes.inner == 1) {
    visit_row(
        x, lanes.size, thread, lanes.threads,
        [&](Stored value, int64_t) { state.add(device_cast<T>(value)); },
        [&](const Stored(&values)[kRowPack<Stored>], int64_t) { state.add_pack(values); });
  } else if (exists) {
    visit_spread(
        lanes.size, thread, lanes.threads, [&](int64_t c) { return x[c * lanes.inner]; },
        [&](Stored value, int64_t) { state.add(device_cast<T>(value)); });
  }
  return fold_lane(lanes, state, MergeExpSums<Stored>());
}

/// Sets y[c] = function(x[c], c) for every element of a lane, by the lane's threads. x and y point at the
/// lane's first element.
template <class T, class Stored, class Function>
__device__ __forceinline__ void map_lane(const GpuLanes& lanes, const Stored* x, Stored* y, int thread,
                                         Function&& function) {
  const auto one = [&](Stored value, int64_t c) {
    return device_cast<Stored>(function(device_cast<T>(value), c));
  };
  if (lanes.inner > 1) {
    visit_spread(
        lanes.size, thread, lanes.threads, [&](int64_t c) { return x[c * lanes.inner]; },
        [&](Stored value, int64_t c) { y[c * lanes.inner] = one(value, c); });
  } else if ((reinterpret_cast<uintptr_t>(x) ^ reinterpret_cast<uintptr_t>(y)) % 16 == 0) {
    visit_row(
        x, lanes.size, thread, lanes.threads, [&](Stored value, int64_t c) { y[c] = one(value, c); },
        [&](const Stored(&values)[kRowPack<Stored>], int64_t c) {
          Pack<Stored, kRowPack<Stored>> result;
#pragma unroll
          for (int i = 0; i < kRowPack<Stored>; ++i) result.values[i] = one(values[i], c + i);
          gpu::store_16_bytes(y + c, result);
        });
  } else {
    for (int64_t c = thread; c < lanes.size; c += lanes.threads) y[c] = one(x[c], c);
  }
}

}  // namespace taper::ops
