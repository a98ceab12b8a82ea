#include <cmath>

#include "taper/ops/elementwise/formulas.h"
#include "taper/ops/optimizer/optimizer_gpu.h"
#include "taper/ops/optimizer/tensor_table.cuh"

namespace taper::ops {
namespace {

/// A number that comes with the launch, or from device memory if there is a pointer.
struct DeviceNumber {
  double value = 0;
  const double* on_device = nullptr;

  DeviceNumber(double value_, const Tensor& tensor) : value(value_) {
    if (tensor.defined()) on_device = tensor.data<double>();
  }
  __device__ __forceinline__ double get() const { return on_device ? *on_device : value; }
};

// ------------------------------------------------------------------------------------------ kernels

/// Runs update(x) on every element, where x[k] is its value in list k, and stores the lists that it changes.
/// A block of 256 threads takes 4096 elements; a thread takes 4 at a time, 16 bytes of each f32 list. Reads
/// every list and writes the changed ones once; limited by memory bandwidth: 20 bytes an element for SGD with
/// momentum in f32, 28 for AdamW.
template <class T, int kLists, class Update>
__global__ void __launch_bounds__(kLoopBlock, sizeof(T) == 8 ? 2 : 4)
    update_tensors(const __grid_constant__ TensorTable<kLists> table, const float* skip, Update update) {
  if (skip && *skip != 0) return;  // in all threads alike
  const TableChunk chunk = chunk_of_block(table);
  const auto factors = update.template prepare<T>();
  for (int64_t at = chunk.begin + threadIdx.x * kTablePack; at < chunk.end; at += kLoopBlock * kTablePack) {
    const int count = int(min(int64_t(kTablePack), chunk.end - at));
    const bool whole = count == kTablePack && table.aligned[chunk.row];
    T values[kLists][kTablePack];
#pragma unroll
    for (int k = 0; k < kLists; ++k) {
      load_table_pack(table.data[k][chunk.row], table.dtype[k][chunk.row], whole, at, count, values[k]);
    }
#pragma unroll
    for (int i = 0; i < kTablePack; ++i) {
      T x[kLists];
#pragma unroll
      for (int k = 0; k < kLists; ++k) x[k] = values[k][i];
      update(x, factors);
#pragma unroll
      for (int k = 0; k < kLists; ++k) values[k][i] = x[k];
    }
#pragma unroll
    for (int k = 0; k < kLists; ++k) {
      if (!Update::writes(k)) continue;
      store_table_pack(table.data[k][chunk.row], table.dtype[k][chunk.row], whole, at, count, values[k]);
    }
  }
}

// ------------------------------------------------------------------------------------------ updates

/// Lists: parameters, gradients and, with momentum, buffers.
template <bool kMomentum>
struct SgdUpdate {
  DeviceNumber lr, step;
  double momentum, fresh, weight_decay;
  bool nesterov;

  template <class T>
  struct Factors {
    T lr, momentum, fresh, weight_decay;
    bool first_step;
  };
  template <class T>
  __device__ Factors<T> prepare() const {
    return {T(lr.get()), T(momentum), T(fresh), T(weight_decay), step.get() == 1};
  }
  __device__ static constexpr bool writes(int list) { return list != 1; }
  template <class T>
  __device__ __forceinline__ void operator()(T* x, const Factors<T>& f) const {
    const T g = x[1] + f.weight_decay * x[0];
    if constexpr (!kMomentum) {
      x[0] -= f.lr * g;
    } else {
      x[2] = f.first_step ? g : f.momentum * x[2] + f.fresh * g;
      x[0] -= f.lr * (nesterov ? g + f.momentum * x[2] : x[2]);
    }
  }
};

/// Lists: parameters, gradients, averages of gradients and of their squares.
struct AdamWUpdate {
  DeviceNumber lr, step;
  double beta1, beta2, log_beta1, log_beta2, eps, weight_decay;

  template <class T>
  struct Factors {
    T beta1, beta2, fresh1, fresh2, eps, keep, step_size, root_correction2;
  };
  /// The corrections need f64 and a few hundred instructions, so one thread computes them for its block.
  template <class T>
  __device__ Factors<T> prepare() const {
    __shared__ double shared[3];
    if (threadIdx.x == 0) {
      const double rate = lr.get(), steps = step.get();
      shared[0] = 1 - rate * weight_decay;
      shared[1] = rate / -std::expm1(steps * log_beta1);
      shared[2] = std::sqrt(-std::expm1(steps * log_beta2));
    }
    __syncthreads();
    return {T(beta1), T(beta2), T(1 - beta1), T(1 - beta2), T(eps), T(shared[0]), T(shared[1]), T(shared[2])};
  }
  __device__ static constexpr bool writes(int list) { return list != 1; }
  template <class T>
  __device__ __forceinline__ void operator()(T* x, const Factors<T>& f) const {
    x[2] = f.beta1 * x[2] + f.fresh1 * x[1];
    x[3] = f.beta2 * x[3] + f.fresh2 * x[1] * x[1];
    x[0] = f.keep * x[0] - f.step_size * x[2] / (std::sqrt(x[3]) / f.root_correction2 + f.eps);
  }
};

/// Lists: averages, parameters.
struct EmaUpdate {
  double decay;

  template <class T>
  struct Factors {
    T keep, fresh;
  };
  template <class T>
  __device__ Factors<T> prepare() const {
    return {T(decay), T(1 - decay)};
  }
  __device__ static constexpr bool writes(int list) { return list == 0; }
  template <class T>
  __device__ __forceinline__ void operator()(T* x, const Factors<T>& f) const {
    x[0] = f.keep * x[0] + f.fresh * x[1];
  }
};

struct ScaleUpdate {
  double value;
  const float* factor_f32;
  const double* factor_f64;

  template <class T>
  __device__ T prepare() const {
    return factor_f32 ? T(*factor_f32) : factor_f64 ? T(*factor_f64) : T(value);
  }
  __device__ static constexpr bool writes(int) { return true; }
  template <class T>
  __device__ __forceinline__ void operator()(T* x, T factor) const {
    x[0] *= factor;
  }
};

struct UnscaleUpdate {
  const float* inverse_scale;
  float* found_inf;

  template <class T>
  __device__ T prepare() const {
    return T(*inverse_scale);
  }
  __device__ static constexpr bool writes(int) { return true; }
  template <class T>
  __device__ __forceinline__ void operator()(T* x, T factor) const {
    x[0] *= factor;
    // Threads that find one all write one value, so their order does not matter.
    if (!evaluate<ElementwiseOp::kIsFinite>(x[0])) atomicExch(found_inf, 1.0f);
  }
};

template <int kLists, class Update>
void run(const char* name, const TensorLists& lists, const Update& update, const Tensor& skip = Tensor()) {
  const gpu::DeviceGuard guard((*lists[0])[0].device().index);
  const float* skip_ptr = skip.defined() ? skip.data<float>() : nullptr;
  for_each_table<kLists>(lists, [&]<class T>(const TensorTable<kLists>& table, uint32_t blocks) {
    gpu::launch(name, update_tensors<T, kLists, Update>, {.grid = blocks, .block = kLoopBlock}, table,
                skip_ptr, update);
  });
}

template <bool kMomentum>
SgdUpdate<kMomentum> sgd(const SgdOptions& options, bool first_step, const UpdateControls& controls) {
  return {.lr = {options.lr, controls.lr},
          .step = {first_step ? 1.0 : 2.0, controls.step},
          .momentum = options.momentum,
          .fresh = 1 - options.dampening,
          .weight_decay = options.weight_decay,
          .nesterov = options.nesterov};
}

}  // namespace

// ------------------------------------------------------------------------------------------ launching

void sgd_update_gpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                    const std::vector<Tensor>& momentum_buffers, const SgdOptions& options, bool first_step,
                    const UpdateControls& controls) {
  if (options.momentum == 0) {
    return run<2>("sgd_update", {&params, &grads}, sgd<false>(options, first_step, controls), controls.skip);
  }
  run<3>("sgd_update", {&params, &grads, &momentum_buffers}, sgd<true>(options, first_step, controls),
         controls.skip);
}

void adamw_update_gpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                      const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                      const AdamWOptions& options, int64_t step, const UpdateControls& controls) {
  const AdamWUpdate update = {.lr = {options.lr, controls.lr},
                              .step = {double(step), controls.step},
                              .beta1 = options.beta1,
                              .beta2 = options.beta2,
                              .log_beta1 = std::log(options.beta1),
                              .log_beta2 = std::log(options.beta2),
                              .eps = options.eps,
                              .weight_decay = options.weight_decay};
  run<4>("adamw_update", {&params, &grads, &exp_avgs, &exp_avg_sqs}, update, controls.skip);
}

void ema_update_gpu(const std::vector<Tensor>& averages, const std::vector<Tensor>& params, double decay) {
  run<2>("ema_update", {&averages, &params}, EmaUpdate{decay});
}

void scale_gpu(const std::vector<Tensor>& tensors, double factor) {
  run<1>("scale", {&tensors}, ScaleUpdate{factor, nullptr, nullptr});
}

void scale_gpu(const std::vector<Tensor>& tensors, const Tensor& factor) {
  const bool wide = factor.dtype() == kFloat64;
  run<1>("scale", {&tensors},
         ScaleUpdate{0, wide ? nullptr : factor.data<float>(), wide ? factor.data<double>() : nullptr});
}

void unscale_gpu(const std::vector<Tensor>& tensors, const Tensor& inverse_scale, const Tensor& found_inf) {
  run<1>("unscale", {&tensors}, UnscaleUpdate{inverse_scale.data<float>(), found_inf.data<float>()});
}

}  // namespace taper::ops
