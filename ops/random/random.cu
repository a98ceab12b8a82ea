#include "taper/core/base/ceil_div.h"
#include "taper/ops/copy/strided_gpu.cuh"
#include "taper/ops/random/draws.h"
#include "taper/ops/random/random_gpu.h"

namespace taper::ops {
namespace {

/// Writes values[0], ..., values[count - 1] to `to`, in one store if it is aligned for that.
template <class Stored, int kPack, class T>
__device__ __forceinline__ void store_row(Stored* to, int count, bool aligned, const T (&values)[kPack]) {
  if (aligned && count == kPack) {
    Pack<Stored, kPack> pack;
#pragma unroll
    for (int i = 0; i < kPack; ++i) pack.values[i] = device_cast<Stored>(values[i]);
    *reinterpret_cast<Pack<Stored, kPack>*>(to) = pack;
  } else {
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      if (i < count) to[i] = device_cast<Stored>(values[i]);
    }
  }
}

/// Fills x with draws: thread i takes the random bits of counter + i and writes their two or four values.
/// Blocks of 256 threads. Only writes; for f32 the ten rounds of Philox (about 80 integer instructions for 16
/// bytes) take longer than the memory.
template <class Draw>
__global__ void __launch_bounds__(kLoopBlock)
    fill_random(char* x, DType dtype, int64_t numel, bool aligned, DrawnRange range, Draw draw) {
  constexpr int kPack = Draw::kPerBlock;
  const int64_t block = int64_t(blockIdx.x) * kLoopBlock + threadIdx.x, first = block * kPack;
  if (first >= numel) return;
  typename Draw::Value values[kPack];
  const GeneratorState state = range.begin();
  draw(Philox{state.seed}(state.counter + uint64_t(block)), values);
  const int count = int(min(int64_t(kPack), numel - first));
  dispatch_device(dtype, [&]<class Stored>() {
    store_row(reinterpret_cast<Stored*>(x) + first, count, aligned, values);
  });
}

/// Dropout. A thread reads 4 elements, draws for them, and writes them with their masks: 9 bytes an element
/// in f32, 5 in the half types. In f32, memory and Philox limit it about equally.
template <class Stored, class T>
__global__ void __launch_bounds__(kLoopBlock)
    dropout_row(const Stored* x, Stored* y, bool* mask, int64_t numel, bool aligned, T scale,
                DrawnRange range, BernoulliDraw draw) {
  const int64_t block = int64_t(blockIdx.x) * kLoopBlock + threadIdx.x, first = block * 4;
  if (first >= numel) return;
  const int count = int(min(int64_t(4), numel - first));
  Pack<Stored, 4> pack = {};
  if (aligned && count == 4) {
    pack = *reinterpret_cast<const Pack<Stored, 4>*>(x + first);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < count) pack.values[i] = x[first + i];
    }
  }
  bool kept[4];
  const GeneratorState state = range.begin();
  draw(Philox{state.seed}(state.counter + uint64_t(block)), kept);
  T values[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) values[i] = kept[i] ? device_cast<T>(pack.values[i]) * scale : T(0);
  store_row(y + first, count, aligned, values);
  store_row(mask + first, count, aligned, kept);
}

bool is_aligned(const Tensor& x, int pack) {
  const size_t pack_bytes = std::min<size_t>(size_of(x.dtype()) * size_t(pack), 16);
  return reinterpret_cast<uintptr_t>(x.data_ptr()) % pack_bytes == 0;
}

unsigned grid_for(int64_t numel, int pack) {
  const int64_t per_block = int64_t(kLoopBlock) * pack;
  return unsigned(ceil_div(numel, per_block));
}

template <class Draw>
void launch(const char* name, const Tensor& x, const DrawnRange& range, const Draw& draw) {
  const gpu::DeviceGuard guard(x.device().index);
  gpu::launch(name, fill_random<Draw>, {.grid = grid_for(x.numel(), Draw::kPerBlock), .block = kLoopBlock},
              static_cast<char*>(x.data_ptr()), x.dtype(), x.numel(), is_aligned(x, Draw::kPerBlock), range,
              draw);
}

struct StateList {
  GeneratorState states[kMostStates];
};

/// One thread for each state; limited by latency.
__global__ void write_states(GeneratorState* to, StateList list) {
  to[threadIdx.x] = list.states[threadIdx.x];
}

}  // namespace

void uniform_gpu(const Tensor& x, double low, double high, const DrawnRange& range) {
  if (x.dtype() == kFloat64) return launch("uniform", x, range, UniformDraw<double>{low, high - low});
  launch("uniform", x, range, UniformDraw<float>{float(low), float(high - low)});
}

void normal_gpu(const Tensor& x, double mean, double std, const DrawnRange& range) {
  if (x.dtype() == kFloat64) return launch("normal", x, range, NormalDraw<double>{mean, std});
  launch("normal", x, range, NormalDraw<float>{float(mean), float(std)});
}

void bernoulli_gpu(const Tensor& x, double p, const DrawnRange& range) {
  launch("bernoulli", x, range, BernoulliDraw(p));
}

void randint_gpu(const Tensor& x, int64_t low, uint64_t span, bool wide, const DrawnRange& range) {
  if (wide) return launch("randint", x, range, WideIntegerDraw{low, span});
  launch("randint", x, range, IntegerDraw{low, span});
}

void dropout_gpu(const Tensor& x, const Tensor& y, const Tensor& mask, double keep, double scale,
                 const DrawnRange& range) {
  const gpu::DeviceGuard guard(x.device().index);
  const bool aligned = is_aligned(x, 4) && is_aligned(y, 4) && is_aligned(mask, 4);
  const auto launch_as = [&]<class Stored, class T>() {
    gpu::launch("dropout", dropout_row<Stored, T>, {.grid = grid_for(x.numel(), 4), .block = kLoopBlock},
                static_cast<const Stored*>(x.data_ptr()), static_cast<Stored*>(y.data_ptr()),
                mask.data<bool>(), x.numel(), aligned, T(scale), range, BernoulliDraw(keep));
  };
  switch (x.dtype()) {
    case kFloat64:
      return launch_as.template operator()<double, double>();
    case kFloat16:
      return launch_as.template operator()<__half, float>();
    case kBFloat16:
      return launch_as.template operator()<__nv_bfloat16, float>();
    default:
      return launch_as.template operator()<float, float>();
  }
}

void write_states_gpu(GeneratorState* to, const std::array<GeneratorState, kMostStates>& states,
                      Device device) {
  StateList list;
  for (size_t i = 0; i < kMostStates; ++i) list.states[i] = states[i];
  const gpu::DeviceGuard guard(device.index);
  gpu::launch("write_states", write_states, {.grid = 1, .block = kMostStates}, to, list);
}

}  // namespace taper::ops
