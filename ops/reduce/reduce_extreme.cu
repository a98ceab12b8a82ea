// Extremes on the GPU, with and without their position; the kernels are in reduce_gpu.cuh.

#include <limits>

#include "taper/core/base/ceil_div.h"
#include "taper/ops/reduce/reduce_gpu.cuh"
#include "taper/ops/reduce/reduce_gpu.h"

namespace taper::ops {
namespace {

/// Returns whether `a` beats `b`: larger (or smaller), or a NaN against a number.
template <class T>
__device__ __forceinline__ bool beats(T a, T b, bool largest) {
  return (largest ? a > b : a < b) || (a != a && b == b);
}

template <class Stored, class T>
struct ExtremeReducer {
  using State = T;
  Stored* out;
  bool largest;
  T worst;

  __device__ __forceinline__ State start() const { return worst; }
  __device__ __forceinline__ State add(State state, Stored value, int64_t) const {
    return merge(state, device_cast<T>(value));
  }
  __device__ __forceinline__ State merge(State a, State b) const { return beats(b, a, largest) ? b : a; }
  __device__ __forceinline__ void finish(State state, int64_t at) const {
    out[at] = device_cast<Stored>(state);
  }
};

template <class T>
struct Choice {
  T value;
  int64_t index;
};

/// Among equal values the lower index wins, so that values may come in any order.
template <class Stored, class T>
struct IndexedReducer {
  using State = Choice<T>;
  Stored* values;
  int64_t* indices;
  bool largest;
  T worst;

  __device__ __forceinline__ State start() const { return {worst, INT64_MAX}; }
  __device__ __forceinline__ State add(State state, Stored value, int64_t at) const {
    return merge(state, {device_cast<T>(value), at});
  }
  __device__ __forceinline__ State merge(State a, State b) const {
    if (beats(b.value, a.value, largest)) return b;
    if (beats(a.value, b.value, largest)) return a;
    return b.index < a.index ? b : a;
  }
  __device__ __forceinline__ void finish(State state, int64_t at) const {
    values[at] = device_cast<Stored>(state.value);
    indices[at] = state.index;
  }
};

/// The value that every value equals or beats.
template <class T>
T worst_value(bool largest) {
  using Limits = std::numeric_limits<T>;
  if constexpr (Limits::has_infinity) return largest ? -Limits::infinity() : Limits::infinity();
  return largest ? Limits::lowest() : Limits::max();
}

/// Writes one row's k best, in order. A block of 32 to 256 threads finds them one after the other: each time
/// the best of the elements that come after the last one found. Reads the row k times, from the caches unless
/// the row is long. Made for the few best of many classes; limited by the latency of k block reductions.
template <class Stored, class T>
__global__ void __launch_bounds__(kReduceBlock)
    top_of_row(const Stored* x, Stored* values, int64_t* indices, int64_t size, int64_t k, bool largest) {
  const Stored* row = x + blockIdx.x * size;
  const auto precedes = [&](Choice<T> a, Choice<T> b) {
    if (a.index < 0 || b.index < 0) return b.index < 0 && a.index >= 0;  // -1: nothing
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    if (a_nan != b_nan) return a_nan == largest;
    if (!a_nan && a.value != b.value) return largest ? a.value > b.value : a.value < b.value;
    return a.index < b.index;
  };
  const auto better = [&](Choice<T> a, Choice<T> b) { return precedes(b, a) ? b : a; };
  Choice<T> last{T(0), -1};
  for (int64_t i = 0; i < k; ++i) {
    Choice<T> best{T(0), -1};
    for (int64_t at = threadIdx.x; at < size; at += blockDim.x) {
      const Choice<T> candidate{device_cast<T>(row[at]), at};
      if (last.index < 0 || precedes(last, candidate)) best = better(best, candidate);
    }
    last = block_reduce(best, better);
    if (threadIdx.x == 0) {
      values[blockIdx.x * k + i] = device_cast<Stored>(last.value);
      indices[blockIdx.x * k + i] = last.index;
    }
  }
}

template <class T>
struct ComputeOf {
  using type = std::conditional_t<std::is_same_v<T, double>, double,
                                  std::conditional_t<std::is_integral_v<T>, int64_t, float>>;
};
template <class T>
using Compute = typename ComputeOf<T>::type;

}  // namespace

void reduce_extreme_gpu(ReduceOp op, const Tensor& out, const Tensor& x, const Dims& axes) {
  const bool largest = op == ReduceOp::kMax;
  dispatch_stored(x.dtype(), [&]<class Stored>() {
    using T = Compute<Stored>;
    launch_reduction<Stored>(
        "reduce_extreme", x, out, axes,
        ExtremeReducer<Stored, T>{static_cast<Stored*>(out.data_ptr()), largest, worst_value<T>(largest)});
  });
}

void reduce_indices_gpu(ReduceOp op, const Tensor& values, const Tensor& indices, const Tensor& x,
                        int64_t axis) {
  const gpu::DeviceGuard guard(x.device().index);
  const bool largest = op == ReduceOp::kMax;
  dispatch_stored(x.dtype(), [&]<class Stored>() {
    using T = Compute<Stored>;
    launch_reduction<Stored>(
        "reduce_indexed", x, values, x.dim() > 0 ? Dims{axis} : Dims{},
        IndexedReducer<Stored, T>{static_cast<Stored*>(values.data_ptr()), indices.data<int64_t>(), largest,
                                  worst_value<T>(largest)});
  });
}

void topk_gpu(const Tensor& values, const Tensor& indices, const Tensor& x, bool largest) {
  const gpu::DeviceGuard guard(x.device().index);
  const int64_t size = x.size(-1), k = values.size(-1);
  const int64_t threads = std::clamp<int64_t>(round_up(size, kWarp), kWarp, kReduceBlock);
  dispatch_stored(x.dtype(), [&]<class Stored>() {
    gpu::launch("top_of_row", top_of_row<Stored, Compute<Stored>>,
                {.grid = unsigned(x.numel() / size), .block = unsigned(threads)},
                static_cast<const Stored*>(x.data_ptr()), static_cast<Stored*>(values.data_ptr()),
                indices.data<int64_t>(), size, k, largest);
  });
}

}  // namespace taper::ops
