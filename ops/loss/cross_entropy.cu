#include "taper/core/base/ceil_div.h"
#include "taper/core/gpu/device_check.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/loss/cross_entropy_gpu.h"
#include "taper/ops/reduce/reduce.h"
#include "taper/ops/softmax/lane_gpu.cuh"

namespace taper::ops {
namespace {

/// The part of the loss that is equal for every position.
template <class T>
struct Terms {
  const T* weight;  ///< of each class, or null
  int64_t ignore_index;
  double target_share, class_share;

  Terms(const CrossEntropyOptions& options, int64_t classes)
      : weight(options.weight.defined() ? static_cast<const T*>(options.weight.data_ptr()) : nullptr),
        ignore_index(options.ignore_index),
        target_share(1 - options.label_smoothing),
        class_share(options.label_smoothing / double(classes)) {}

  __device__ __forceinline__ T weight_of(int64_t c) const { return weight ? weight[c] : T(1); }
};

__device__ __forceinline__ void check_target(int64_t target, int64_t classes) {
  gpu::device_check(target >= 0 && target < classes,
                    "cross_entropy: a target is neither a class of the logits nor ignore_index");
}

/// Writes the loss (0 if ignored) and log-sum-exp of every position; launch as lane_gpu.cuh describes. Reads
/// the logits once, with label smoothing a second time from the caches, and writes 16 bytes a position.
/// Limited by memory bandwidth.
template <class Stored>
__global__ void __launch_bounds__(kLaneBlock, kLaneBlocks<Stored>)
    cross_entropy_lanes(const Stored* x, const int64_t* targets, GpuLanes lanes,
                        Terms<LaneType<Stored>> terms, double* log_sum_exp, double* losses, Stored* each) {
  using T = LaneType<Stored>;
  int thread;
  const int64_t lane = lanes.lane(thread);
  const bool exists = lane < lanes.count;
  x += exists ? lanes.start(lane) : 0;
  const ExpSum<Stored> total = lane_statistics(lanes, x, exists, thread);
  const T log_sum = std::log(total.sum);
  T smoothed = 0;  // sum of w[c] * (lse - x[c])
  if (terms.class_share > 0) {
    if (exists) {
      for (int64_t c = thread; c < lanes.size; c += lanes.threads) {
        smoothed += terms.weight_of(c) * (total.largest - device_cast<T>(x[c * lanes.inner]) + log_sum);
      }
    }
    smoothed = fold_lane(lanes, smoothed, fold::Sum());
  }
  if (!exists || thread > 0) return;
  log_sum_exp[lane] = double(total.largest) + double(log_sum);
  const int64_t target = targets[lane];
  double loss = 0;
  if (target != terms.ignore_index) {
    check_target(target, lanes.size);
    const T surprise = total.largest - device_cast<T>(x[target * lanes.inner]) + log_sum;
    loss = terms.target_share * double(terms.weight_of(target)) * double(surprise);
    if (terms.class_share > 0) loss += terms.class_share * double(smoothed);
  }
  losses[lane] = loss;
  if (each) each[lane] = device_cast<Stored>(T(loss));
}

struct LossSum {
  double loss, weight;
};
struct AddLossSums {
  __device__ LossSum operator()(LossSum a, LossSum b) const { return {a.loss + b.loss, a.weight + b.weight}; }
};

/// Adds up the block's losses and the weights of its targets, one partial sum a block of kLaneBlock threads.
/// Reads 16 bytes a position; limited by memory bandwidth.
template <class T>
__global__ void __launch_bounds__(kLaneBlock)
    sum_losses(const double* losses, const int64_t* targets, int64_t positions, Terms<T> terms,
               LossSum* partial) {
  LossSum sum{0, 0};
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; i < positions;
       i += int64_t(gridDim.x) * blockDim.x) {
    sum.loss += losses[i];
    if (targets[i] != terms.ignore_index) sum.weight += double(terms.weight_of(targets[i]));
  }
  sum = block_reduce(sum, AddLossSums());
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// Adds the partial sums, 16 bytes each, in one block, and writes the results. Limited by latency.
template <class Stored>
__global__ void __launch_bounds__(kLaneBlock)
    finish_losses(const LossSum* partial, int count, bool mean, Stored* loss, double* total_weight) {
  LossSum sum{0, 0};
  for (int i = int(threadIdx.x); i < count; i += int(blockDim.x)) sum = AddLossSums()(sum, partial[i]);
  sum = block_reduce(sum, AddLossSums());
  if (threadIdx.x > 0) return;
  *total_weight = sum.weight;
  if (loss) *loss = device_cast<Stored>(LaneType<Stored>(mean ? sum.loss / sum.weight : sum.loss));
}

/// d loss / d x[c] = scale * (mass * p[c] - class_share * w[c]), minus the target's own share at c = target;
/// launch as lane_gpu.cuh describes. Reads and writes the logits' size once; limited by memory bandwidth.
template <class Stored>
__global__ void __launch_bounds__(kLaneBlock, kLaneBlocks<Stored>)
    cross_entropy_gradient(const Stored* x, Stored* dx, const int64_t* targets, GpuLanes lanes,
                           Terms<LaneType<Stored>> terms, const LaneType<Stored>* class_total,
                           const double* log_sum_exp, const Stored* upstream, bool per_position,
                           const double* divisor) {
  using T = LaneType<Stored>;
  int thread;
  const int64_t lane = lanes.lane(thread);
  if (lane >= lanes.count) return;
  x += lanes.start(lane);
  dx += lanes.start(lane);
  const int64_t target = targets[lane];
  if (target == terms.ignore_index) {  // 0 times the probability may be NaN
    return map_lane<T>(lanes, x, dx, thread, [](T, int64_t) { return T(0); });
  }
  check_target(target, lanes.size);
  const double scale = device_cast<double>(upstream[per_position ? lane : 0]) / (divisor ? *divisor : 1);
  const double own = terms.target_share * double(terms.weight_of(target));
  const double all = class_total ? double(*class_total) : double(lanes.size);
  const T mass = T(scale * (own + terms.class_share * all));
  const T target_part = T(scale * own), class_part = T(scale * terms.class_share);
  // The log-sum-exp in two parts, so that it keeps its precision where T is float.
  const T high = T(log_sum_exp[lane]), low = T(log_sum_exp[lane] - double(high));
  map_lane<T>(lanes, x, dx, thread, [&](T v, int64_t c) {
    T result = mass * lane_exp<Stored>(v - high - low);
    if (terms.class_share > 0) result -= class_part * terms.weight_of(c);
    return c == target ? result - target_part : result;
  });
}

}  // namespace

void cross_entropy_gpu(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options,
                       const CrossEntropy& out) {
  const gpu::DeviceGuard guard(logits.device().index);
  const int64_t positions = target.numel(), per_block = int64_t(kLaneBlock) * 4;
  const unsigned blocks = unsigned(std::clamp<int64_t>(ceil_div(positions, per_block), 1, 1024));
  const TensorOptions f64{.dtype = kFloat64, .device = logits.device()};
  const Tensor losses = empty(target.shape(), f64), partial = empty({int64_t(blocks), 2}, f64);
  auto* partial_sums = static_cast<LossSum*>(partial.data_ptr());
  dispatch_device_float(logits.dtype(), [&]<class Stored>() {
    const GpuLanes lanes = GpuLanes::of<Stored>(lanes_of(logits, logits.dim() == 1 ? 0 : 1));
    const Terms<LaneType<Stored>> terms(options, lanes.size);
    const bool per_position = options.reduction == Reduction::kNone;
    Stored* loss = static_cast<Stored*>(out.loss.data_ptr());
    if (positions > 0) {
      gpu::launch("cross_entropy_lanes", cross_entropy_lanes<Stored>,
                  {.grid = lanes.grid(), .block = kLaneBlock}, static_cast<const Stored*>(logits.data_ptr()),
                  target.data<int64_t>(), lanes, terms, out.log_sum_exp.data<double>(), losses.data<double>(),
                  per_position ? loss : nullptr);
    }
    gpu::launch("sum_losses", sum_losses<LaneType<Stored>>, {.grid = blocks, .block = kLaneBlock},
                losses.data<double>(), target.data<int64_t>(), positions, terms, partial_sums);
    gpu::launch("finish_losses", finish_losses<Stored>, {.grid = 1, .block = kLaneBlock}, partial_sums,
                int(blocks), options.reduction == Reduction::kMean, per_position ? nullptr : loss,
                out.total_weight.data<double>());
  });
}

void cross_entropy_backward_gpu(const Tensor& grad, const Tensor& logits, const Tensor& target,
                                const Tensor& log_sum_exp, const Tensor& total_weight,
                                const CrossEntropyOptions& options, const Tensor& result) {
  const gpu::DeviceGuard guard(logits.device().index);
  if (logits.numel() == 0) return;
  const bool needs_total = options.weight.defined() && options.label_smoothing > 0;
  const Tensor class_total = needs_total ? sum(options.weight) : Tensor();
  dispatch_device_float(logits.dtype(), [&]<class Stored>() {
    const GpuLanes lanes = GpuLanes::of<Stored>(lanes_of(logits, logits.dim() == 1 ? 0 : 1));
    gpu::launch("cross_entropy_gradient", cross_entropy_gradient<Stored>,
                {.grid = lanes.grid(), .block = kLaneBlock}, static_cast<const Stored*>(logits.data_ptr()),
                static_cast<Stored*>(result.data_ptr()), target.data<int64_t>(), lanes,
                Terms<LaneType<Stored>>(options, lanes.size),
                needs_total ? static_cast<const LaneType<Stored>*>(class_total.data_ptr()) : nullptr,
                log_sum_exp.data<double>(), static_cast<const Stored*>(grad.data_ptr()),
                options.reduction == Reduction::kNone,
                options.reduction == Reduction::kMean ? total_weight.data<double>() : nullptr);
  });
}

}  // namespace taper::ops
