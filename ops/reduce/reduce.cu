// Sums, norms and truth values on the GPU; the kernels are in reduce_gpu.cuh.

#include <cmath>

#include "taper/ops/reduce/reduce_gpu.cuh"
#include "taper/ops/reduce/reduce_gpu.h"

namespace taper::ops {

namespace {

template <class Stored>
inline constexpr bool kIsHalf = std::is_same_v<Stored, __half> || std::is_same_v<Stored, __nv_bfloat16>;
template <class Stored>
inline constexpr bool kIsFloating = kIsHalf<Stored> || std::is_floating_point_v<Stored>;

/// The sum, or its quotient by `divisor`, as `Out` or, with `wide`, as f32. Floats add up in f64, as on the
/// CPU. Half types add up in f32 within a pack, without losing bits, so that the few converters to f64 do not
/// limit the speed.
template <class Stored, class Out, bool kSquared = false>
struct SumReducer {
  using State = std::conditional_t<kIsFloating<Stored>, double, int64_t>;
  Out* out;
  double divisor = 1;
  float* wide = nullptr;  ///< for half types, instead of `out`

  __device__ __forceinline__ State start() const { return 0; }
  __device__ __forceinline__ State add(State state, Stored value, int64_t) const {
    const State x = device_cast<State>(value);
    return kSquared ? state + x * x : state + x;
  }
  template <int kCount>
  requires(kIsHalf<Stored> && !kSquared) __device__ __forceinline__ State
      add_pack(State state, const Stored (&values)[kCount])
  const {
    float sum = device_cast<float>(values[0]);
#pragma unroll
    for (int i = 1; i < kCount; ++i) sum += device_cast<float>(values[i]);
    return state + double(sum);
  }
  __device__ __forceinline__ State merge(State a, State b) const {
    return a + b;
  }
  __device__ __forceinline__ void finish(State state, int64_t at) const {
    if constexpr (kSquared) {
      out[at] = device_cast<Out>(std::sqrt(state));
    } else if constexpr (kIsFloating<Stored>) {
      const double value = state / divisor;
      if (kIsHalf<Stored> && wide) {
        wide[at] = float(value);
      } else {
        out[at] = device_cast<Out>(value);
      }
    } else {
      out[at] = state;
    }
  }
};

template <class Stored, bool kAll>
struct TruthReducer {
  using State = int;
  bool* out;

  __device__ __forceinline__ State start() const { return kAll; }
  __device__ __forceinline__ State add(State state, Stored value, int64_t) const {
    return merge(state, device_cast<bool>(value));
  }
  __device__ __forceinline__ State merge(State a, State b) const { return kAll ? a & b : a | b; }
  __device__ __forceinline__ void finish(State state, int64_t at) const { out[at] = state != 0; }
};

template <class Stored>
void reduce_stored(ReduceOp op, const Tensor& out, const Tensor& x, const Dims& axes) {
  if (op == ReduceOp::kAny || op == ReduceOp::kAll) {
    if (op == ReduceOp::kAll) {
      launch_reduction<Stored>("reduce_all", x, out, axes, TruthReducer<Stored, true>{out.data<bool>()});
    } else {
      launch_reduction<Stored>("reduce_any", x, out, axes, TruthReducer<Stored, false>{out.data<bool>()});
    }
    return;
  }
  using Out = std::conditional_t<kIsFloating<Stored>, Stored, int64_t>;
  Out* result = static_cast<Out*>(out.data_ptr());
  if (op == ReduceOp::kNorm) {
    if constexpr (kIsFloating<Stored>) {
      launch_reduction<Stored>("reduce_norm", x, out, axes, SumReducer<Stored, Out, true>{result});
    }
    return;
  }
  double count = 1;
  if (op == ReduceOp::kMean) {
    count = 0;
    if (x.numel() > 0) count = double(x.numel() / out.numel());
  }
  float* const wide = out.dtype() == kFloat32 ? static_cast<float*>(out.data_ptr()) : nullptr;
  launch_reduction<Stored>("reduce_sum", x, out, axes, SumReducer<Stored, Out>{result, count, wide});
}

}  // namespace

void reduce_gpu(ReduceOp op, const Tensor& out, const Tensor& x, const Dims& axes) {
  const gpu::DeviceGuard guard(x.device().index);
  if (op == ReduceOp::kMax || op == ReduceOp::kMin) return reduce_extreme_gpu(op, out, x, axes);
  dispatch_stored(x.dtype(), [&]<class Stored>() { reduce_stored<Stored>(op, out, x, axes); });
}

}  // namespace taper::ops
