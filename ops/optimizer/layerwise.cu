#include <cmath>

#include "taper/ops/copy/create.h"
#include "taper/ops/optimizer/layerwise_gpu.h"
#include "taper/ops/optimizer/update_formulas.h"
#include "taper/ops/optimizer/update_tensors.cuh"
#include "taper/ops/reduce/block_reduce.cuh"

namespace taper::ops {
namespace {

// ------------------------------------------------------------------------------------------ kernels

/// sums[block] = the squares in the block's chunk of list 0, the parameters, and of what pass.step(x,
/// factors) returns, in f64. Stores the lists that step() changes. Blocks and loads as in update_tensors.
/// Reads every list and writes the changed ones once, 24 bytes an element for LAMB in f32, 8 for LARS;
/// limited by memory bandwidth.
template <class T, int kLists, class Pass>
__global__ void __launch_bounds__(kLoopBlock, sizeof(T) == 8 ? 2 : 4)
    measure_tensors(const __grid_constant__ TensorTable<kLists> table, const float* skip, Pass pass,
                    SquareSums* sums) {
  if (skip && *skip != 0) return;  // in all threads alike
  const TableChunk chunk = chunk_of_block(table);
  const auto factors = pass.template prepare<T>();
  SquareSums sum;
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
      if (i >= count) break;  // what is loaded there may divide 0 by 0
      T x[kLists];
#pragma unroll
      for (int k = 0; k < kLists; ++k) x[k] = values[k][i];
      const T step = pass.step(x, factors);
      sum.param += double(x[0]) * double(x[0]);
      sum.step += double(step) * double(step);
#pragma unroll
      for (int k = 0; k < kLists; ++k) values[k][i] = x[k];
    }
#pragma unroll
    for (int k = 0; k < kLists; ++k) {
      if (!Pass::writes(k)) continue;
      store_table_pack(table.data[k][chunk.row], table.dtype[k][chunk.row], whole, at, count, values[k]);
    }
  }
  sum.param = block_reduce(sum.param, fold::Sum());
  sum.step = block_reduce(sum.step, fold::Sum());
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

/// Where the sums of each row of a table begin.
struct RowBlocks {
  uint32_t first[kTableTensors + 1];
};

/// ratios[row] = the trust ratio of the row's sums, which are added in an order that depends only on their
/// number. One block of 256 threads a row; reads 16 bytes for each 4096 elements. Limited by latency.
__global__ void __launch_bounds__(kLoopBlock)
    trust_ratios(const __grid_constant__ RowBlocks rows, const SquareSums* sums, const float* skip,
                 TrustRatio ratio, double* ratios) {
  if (skip && *skip != 0) return;
  SquareSums total;
  for (uint32_t i = rows.first[blockIdx.x] + threadIdx.x; i < rows.first[blockIdx.x + 1]; i += kLoopBlock) {
    total.param += sums[i].param;
    total.step += sums[i].step;
  }
  total.param = block_reduce(total.param, fold::Sum());
  total.step = block_reduce(total.step, fold::Sum());
  if (threadIdx.x == 0) ratios[blockIdx.x] = ratio(total);
}

// ------------------------------------------------------------------------------------------ passes

/// LAMB's numbers.
struct LambNumbers {
  DeviceNumber lr, step;
  double beta1, beta2, log_beta1, log_beta2, eps, weight_decay;

  LambNumbers(const LambOptions& options, int64_t step_, const UpdateControls& controls)
      : lr(options.lr, controls.lr),
        step(double(step_), controls.step),
        beta1(options.beta1),
        beta2(options.beta2),
        log_beta1(std::log(options.beta1)),
        log_beta2(std::log(options.beta2)),
        eps(options.eps),
        weight_decay(options.weight_decay) {}

  /// One thread computes what takes f64 and a few hundred instructions. ratio: null for 1.
  template <class T>
  __device__ LambFactors<T> prepare(const double* ratio) const {
    __shared__ double shared[3];
    if (threadIdx.x == 0) {
      const double steps = step.get();
      shared[0] = lr.get() * (ratio ? *ratio : 1);
      shared[1] = -std::expm1(steps * log_beta1);
      shared[2] = std::sqrt(-std::expm1(steps * log_beta2));
    }
    __syncthreads();
    return {T(shared[0]), T(beta1),        T(beta2),     T(1 - beta1), T(1 - beta2),
            T(eps),       T(weight_decay), T(shared[1]), T(shared[2])};
  }
};

/// First pass. Lists: parameters, gradients, averages of gradients and of their squares.
struct LambMeasure {
  LambNumbers numbers;

  template <class T>
  __device__ LambFactors<T> prepare() const {
    return numbers.prepare<T>(nullptr);
  }
  __device__ static constexpr bool writes(int list) { return list >= 2; }
  template <class T>
  __device__ __forceinline__ T step(T* x, const LambFactors<T>& f) const {
    f.average(x[1], x[2], x[3]);
    return f.direction(x[0], x[2], x[3]);
  }
};

/// Last pass. Lists: parameters, averages of gradients and of their squares.
struct LambMove {
  LambNumbers numbers;
  const double* ratios;  ///< of the table's rows; null for 1

  template <class T>
  __device__ LambFactors<T> prepare(int row) const {
    return numbers.prepare<T>(ratios ? ratios + row : nullptr);
  }
  __device__ static constexpr bool writes(int list) { return list == 0; }
  template <class T>
  __device__ __forceinline__ void operator()(T* x, const LambFactors<T>& f) const {
    f.move(x[0], x[1], x[2]);
  }
};

/// First pass. Lists: parameters, gradients.
struct LarsMeasure {
  template <class T>
  __device__ T prepare() const {
    return T(0);  // needs no numbers
  }
  __device__ static constexpr bool writes(int) { return false; }
  template <class T>
  __device__ __forceinline__ T step(const T* x, T) const {
    return x[1];
  }
};

/// Last pass. Lists: parameters, gradients and, with momentum, buffers.
template <bool kMomentum>
struct LarsMove {
  DeviceNumber lr, step;
  double momentum, fresh, weight_decay;
  bool nesterov;
  const double* ratios;  ///< of the table's rows; null for 1

  template <class T>
  struct Factors {
    SgdFactors<T> sgd;
    T ratio;
  };
  template <class T>
  __device__ Factors<T> prepare(int row) const {
    return {{T(lr.get()), T(momentum), T(fresh), T(weight_decay), nesterov, step.get() == 1},
            T(ratios ? ratios[row] : 1)};
  }
  __device__ static constexpr bool writes(int list) { return list != 1; }
  template <class T>
  __device__ __forceinline__ void operator()(T* x, const Factors<T>& f) const {
    const T g = f.ratio * f.sgd.decayed(x[1], x[0]);
    if constexpr (kMomentum) {
      f.sgd.move(x[0], g, x[2]);
    } else {
      f.sgd.move(x[0], g);
    }
  }
};

// ------------------------------------------------------------------------------------------ launching

const float* flag_of(const Tensor& skip) {
  return skip.defined() ? skip.data<float>() : nullptr;
}

/// Runs the first pass. Returns the trust ratio of every row of the tables, one after another.
template <int kLists, class Pass>
Tensor run_first_pass(const TensorLists& lists, const Pass& pass, const TrustRatio& ratio,
                      const Tensor& skip) {
  int64_t rows = 0, blocks = 0;
  for (const Tensor& x : *lists[0]) {
    rows += x.numel() > 0;
    blocks += ceil_div(x.numel(), kTableChunk);
  }
  const TensorOptions on_device = {.dtype = kFloat64, .device = (*lists[0])[0].device()};
  const Tensor ratios = empty({rows}, on_device), sums = empty({blocks, 2}, on_device);
  auto* next_sum = reinterpret_cast<SquareSums*>(sums.data<double>());
  double* next_ratio = ratios.data<double>();
  for_each_table<kLists>(lists, [&]<class T>(const TensorTable<kLists>& table, uint32_t grid) {
    RowBlocks row_blocks;
    std::copy_n(table.first_block, table.count + 1, row_blocks.first);
    gpu::launch("measure_tensors", measure_tensors<T, kLists, Pass>, {.grid = grid, .block = kLoopBlock},
                table, flag_of(skip), pass, next_sum);
    gpu::launch("trust_ratios", trust_ratios, {.grid = uint32_t(table.count), .block = kLoopBlock},
                row_blocks, next_sum, flag_of(skip), ratio, next_ratio);
    next_sum += grid;
    next_ratio += table.count;
  });
  return ratios;
}

/// Runs the last pass, `update`, with the `ratios` that run_first_pass() returned.
template <int kLists, bool kCopies, class Update>
void run_last_pass(const char* name, const TensorLists& lists, Update update, const Tensor& skip) {
  using Table = TensorTable<kLists + kCopies>;
  for_each_table<kLists + kCopies>(lists, [&]<class T>(const Table& table, uint32_t grid) {
    gpu::launch(name, update_tensors<T, kLists, kCopies, Update>, {.grid = grid, .block = kLoopBlock}, table,
                flag_of(skip), update);
    if (update.ratios) update.ratios += table.count;
  });
}

/// run_last_pass() with copies of list 0, unless there are none.
template <int kLists, class Update>
void run_last_pass_with_copies(const char* name, TensorLists lists, const Update& update, const Tensor& skip,
                               const std::vector<Tensor>& copies) {
  if (copies.empty()) return run_last_pass<kLists, false>(name, lists, update, skip);
  lists.push_back(&copies);
  run_last_pass<kLists, true>(name, lists, update, skip);
}

const double* numbers_of(const Tensor& ratios) {
  return ratios.defined() ? ratios.data<double>() : nullptr;
}

template <bool kMomentum>
LarsMove<kMomentum> lars(const LarsOptions& options, bool first_step, const UpdateControls& controls,
                         const Tensor& ratios) {
  return {.lr = {options.lr, controls.lr},
          .step = {first_step ? 1.0 : 2.0, controls.step},
          .momentum = options.momentum,
          .fresh = 1 - options.dampening,
          .weight_decay = options.weight_decay,
          .nesterov = options.nesterov,
          .ratios = numbers_of(ratios)};
}

}  // namespace

void lamb_update_gpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                     const LambOptions& options, int64_t step, const UpdateControls& controls,
                     const std::vector<Tensor>& copies) {
  const gpu::DeviceGuard guard(params[0].device().index);
  const LambNumbers numbers(options, step, controls);
  const Tensor ratios = run_first_pass<4>({&params, &grads, &exp_avgs, &exp_avg_sqs}, LambMeasure{numbers},
                                          TrustRatio(), controls.skip);
  const bool adapt = options.weight_decay != 0 || options.always_adapt;
  run_last_pass_with_copies<3>("lamb_update", {&params, &exp_avgs, &exp_avg_sqs},
                               LambMove{numbers, adapt ? numbers_of(ratios) : nullptr}, controls.skip,
                               copies);
}

void lars_update_gpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& momentum_buffers, const LarsOptions& options, bool first_step,
                     const UpdateControls& controls, const std::vector<Tensor>& copies) {
  const gpu::DeviceGuard guard(params[0].device().index);
  Tensor ratios;
  if (options.weight_decay != 0 || options.always_adapt) {
    const TrustRatio ratio = {
        .coefficient = options.trust_coeff, .weight_decay = options.weight_decay, .eps = options.eps};
    ratios = run_first_pass<2>({&params, &grads}, LarsMeasure(), ratio, controls.skip);
  }
  if (options.momentum == 0) {
    return run_last_pass_with_copies<2>("lars_update", {&params, &grads},
                                        lars<false>(options, first_step, controls, ratios), controls.skip,
                                        copies);
  }
  run_last_pass_with_copies<3>("lars_update", {&params, &grads, &momentum_buffers},
                               lars<true>(options, first_step, controls, ratios), controls.skip, copies);
}

}  // namespace taper::ops
