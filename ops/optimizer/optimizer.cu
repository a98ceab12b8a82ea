#include <cmath>

#include "taper/ops/elementwise/formulas.h"
#include "taper/ops/optimizer/optimizer_gpu.h"
#include "taper/ops/optimizer/update_formulas.h"
#include "taper/ops/optimizer/update_tensors.cuh"

namespace taper::ops {
namespace {

// ------------------------------------------------------------------------------------------ updates

/// Lists: parameters, gradients and, with momentum, buffers.
template <bool kMomentum>
struct SgdUpdate {
  DeviceNumber lr, step;
  double momentum, fresh, weight_decay;
  bool nesterov;

  template <class T>
  __device__ SgdFactors<T> prepare(int) const {
    return {T(lr.get()), T(momentum), T(fresh), T(weight_decay), nesterov, step.get() == 1};
  }
  __device__ static constexpr bool writes(int list) { return list != 1; }
  template <class T>
  __device__ __forceinline__ void operator()(T* x, const SgdFactors<T>& f) const {
    const T g = f.decayed(x[1], x[0]);
    if constexpr (kMomentum) {
      f.move(x[0], g, x[2]);
    } else {
      f.move(x[0], g);
    }
  }
};

/// Lists: parameters, gradients, averages of gradients and of their squares.
struct AdamUpdate {
  DeviceNumber lr, step;
  double beta1, beta2, log_beta1, log_beta2, eps, weight_decay;
  bool decoupled;

  /// The corrections need f64 and a few hundred instructions, so one thread computes them for its block.
  template <class T>
  __device__ AdamFactors<T> prepare(int) const {
    __shared__ double shared[3];
    if (threadIdx.x == 0) {
      const double rate = lr.get(), steps = step.get();
      shared[0] = decoupled ? 1 - rate * weight_decay : 1;
      shared[1] = rate / -std::expm1(steps * log_beta1);
      shared[2] = std::sqrt(-std::expm1(steps * log_beta2));
    }
    __syncthreads();
    return {T(beta1),     T(beta2),     T(1 - beta1),
            T(1 - beta2), T(eps),       decoupled ? T(0) : T(weight_decay),
            T(shared[0]), T(shared[1]), T(shared[2])};
  }
  __device__ static constexpr bool writes(int list) { return list != 1; }
  template <class T>
  __device__ __forceinline__ void operator()(T* x, const AdamFactors<T>& f) const {
    f.move(x[0], x[1], x[2], x[3]);
  }
};

/// Lists: averages, parameters.
struct EmaUpdate {
  DeviceNumber step;
  double decay;

  template <class T>
  struct Factors {
    T keep, fresh;
    bool first_step;
  };
  template <class T>
  __device__ Factors<T> prepare(int) const {
    return {T(decay), T(1 - decay), step.get() == 1};
  }
  __device__ static constexpr bool writes(int list) { return list == 0; }
  template <class T>
  __device__ __forceinline__ void operator()(T* x, const Factors<T>& f) const {
    x[0] = f.first_step ? x[1] : f.keep * x[0] + f.fresh * x[1];
  }
};

struct ScaleUpdate {
  double value;
  const float* factor_f32;
  const double* factor_f64;

  template <class T>
  __device__ T prepare(int) const {
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
  __device__ T prepare(int) const {
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
                    const UpdateControls& controls, const std::vector<Tensor>& copies) {
  if (options.momentum == 0) {
    return run_update_with_copies<2>("sgd_update", {&params, &grads},
                                     sgd<false>(options, first_step, controls), controls.skip, copies);
  }
  run_update_with_copies<3>("sgd_update", {&params, &grads, &momentum_buffers},
                            sgd<true>(options, first_step, controls), controls.skip, copies);
}

void adam_update_gpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                     const AdamOptions& options, int64_t step, const UpdateControls& controls,
                     const std::vector<Tensor>& copies) {
  const AdamUpdate update = {.lr = {options.lr, controls.lr},
                             .step = {double(step), controls.step},
                             .beta1 = options.beta1,
                             .beta2 = options.beta2,
                             .log_beta1 = std::log(options.beta1),
                             .log_beta2 = std::log(options.beta2),
                             .eps = options.eps,
                             .weight_decay = options.weight_decay,
                             .decoupled = options.decoupled_weight_decay};
  run_update_with_copies<4>(options.decoupled_weight_decay ? "adamw_update" : "adam_update",
                            {&params, &grads, &exp_avgs, &exp_avg_sqs}, update, controls.skip, copies);
}

void ema_update_gpu(const std::vector<Tensor>& averages, const std::vector<Tensor>& params, double decay,
                    const UpdateControls& controls) {
  run_update<2>("ema_update", {&averages, &params}, EmaUpdate{.step = {2, controls.step}, .decay = decay},
                controls.skip);
}

void scale_gpu(const std::vector<Tensor>& tensors, double factor) {
  run_update<1>("scale", {&tensors}, ScaleUpdate{factor, nullptr, nullptr});
}

void scale_gpu(const std::vector<Tensor>& tensors, const Tensor& factor) {
  const bool wide = factor.dtype() == kFloat64;
  run_update<1>(
      "scale", {&tensors},
      ScaleUpdate{0, wide ? nullptr : factor.data<float>(), wide ? factor.data<double>() : nullptr});
}

void unscale_gpu(const std::vector<Tensor>& tensors, const Tensor& inverse_scale, const Tensor& found_inf) {
  run_update<1>("unscale", {&tensors}, UnscaleUpdate{inverse_scale.data<float>(), found_inf.data<float>()});
}

}  // namespace taper::ops
