#include "taper/ops/loss/class_targets.h"
#include "taper/ops/loss/soft_cross_entropy_backend.h"
#include "taper/ops/softmax/lane_gpu.cuh"

namespace taper::ops {
namespace {

template <class T>
__device__ __forceinline__ T device_share_of(const SoftTerms<T>& terms, T target, int64_t c) {
  const T q = T(terms.target_share) * target + T(terms.class_share);
  return terms.weight ? terms.weight[c] * q : q;
}

/// The loss of some of a lane's classes, and the sum of their q.
template <class T>
struct SoftSum {
  T loss = 0, mass = 0;
};
template <class T>
struct AddSoftSums {
  __device__ __forceinline__ SoftSum<T> operator()(SoftSum<T> a, SoftSum<T> b) const {
    return {a.loss + b.loss, a.mass + b.mass};
  }
};

/// Writes the loss, log-sum-exp and mass of every position; launch as lane_gpu.cuh describes. Reads the target once
/// and the logits twice, the second time from the caches, and writes 24 bytes a position. Limited by memory
/// bandwidth.
template <class Stored>
__global__ void __launch_bounds__(kLaneBlock, kLaneBlocks<Stored>)
    soft_cross_entropy_lanes(const Stored* x, const LaneType<Stored>* target, GpuLanes lanes,
                             SoftTerms<LaneType<Stored>> terms, double* losses, double* log_sum_exp,
                             double* mass) {
  using T = LaneType<Stored>;
  int thread;
  const int64_t lane = lanes.lane(thread);
  const bool exists = lane < lanes.count;
  const int64_t start = exists ? lanes.start(lane) : 0;
  x += start;
  target += start;
  const ExpSum<Stored> total = lane_statistics(lanes, x, exists, thread);
  const T log_sum = std::log(total.sum);
  SoftSum<T> sum;
  if (exists) {
    for (int64_t c = thread; c < lanes.size; c += lanes.threads) {
      const T q = device_share_of(terms, target[c * lanes.inner], c);
      sum.loss += q * (total.largest - device_cast<T>(x[c * lanes.inner]) + log_sum);
      sum.mass += q;
    }
  }
  sum = fold_lane(lanes, sum, AddSoftSums<T>());
  if (!exists || thread > 0) return;
  losses[lane] = double(sum.loss);
  log_sum_exp[lane] = double(total.largest) + double(log_sum);
  mass[lane] = double(sum.mass);
}

/// d loss / d x[c] = scale * (mass * p[c] - q[c]); launch as lane_gpu.cuh describes. Reads logits and target and
/// writes the gradient once; limited by memory bandwidth.
template <class Stored>
__global__ void __launch_bounds__(kLaneBlock, kLaneBlocks<Stored>)
    soft_cross_entropy_gradient(const Stored* x, Stored* dx, const LaneType<Stored>* target, GpuLanes lanes,
                                SoftTerms<LaneType<Stored>> terms, const double* log_sum_exp,
                                const double* mass, const Stored* upstream, bool per_position,
                                double divisor) {
  using T = LaneType<Stored>;
  int thread;
  const int64_t lane = lanes.lane(thread);
  if (lane >= lanes.count) return;
  const int64_t start = lanes.start(lane);
  target += start;
  const double scale = device_cast<double>(upstream[per_position ? lane : 0]) / divisor;
  const T all = T(scale * mass[lane]), each = T(scale);
  // The log-sum-exp in two parts, so that it keeps its precision where T is float.
  const T high = T(log_sum_exp[lane]), low = T(log_sum_exp[lane] - double(high));
  map_lane<T>(lanes, x + start, dx + start, thread, [&](T v, int64_t c) {
    return all * lane_exp<Stored>(v - high - low) - each * device_share_of(terms, target[c * lanes.inner], c);
  });
}

}  // namespace

void soft_losses_gpu(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options,
                     const Tensor& losses, const Tensor& log_sum_exp, const Tensor& mass) {
  const gpu::DeviceGuard guard(logits.device().index);
  if (losses.numel() == 0) return;
  dispatch_device_float(logits.dtype(), [&]<class Stored>() {
    using T = LaneType<Stored>;
    const GpuLanes lanes = GpuLanes::of<Stored>(lanes_of(logits, class_axis(logits)));
    gpu::launch("soft_cross_entropy_lanes", soft_cross_entropy_lanes<Stored>,
                {.grid = lanes.grid(), .block = kLaneBlock}, static_cast<const Stored*>(logits.data_ptr()),
                static_cast<const T*>(target.data_ptr()), lanes, SoftTerms<T>(options, lanes.size),
                losses.data<double>(), log_sum_exp.data<double>(), mass.data<double>());
  });
}

void soft_gradient_gpu(const Tensor& grad, const Tensor& logits, const Tensor& target,
                       const CrossEntropyOptions& options, const Tensor& log_sum_exp, const Tensor& mass,
                       double divisor, const Tensor& result) {
  const gpu::DeviceGuard guard(logits.device().index);
  if (logits.numel() == 0) return;
  dispatch_device_float(logits.dtype(), [&]<class Stored>() {
    using T = LaneType<Stored>;
    const GpuLanes lanes = GpuLanes::of<Stored>(lanes_of(logits, class_axis(logits)));
    gpu::launch("soft_cross_entropy_gradient", soft_cross_entropy_gradient<Stored>,
                {.grid = lanes.grid(), .block = kLaneBlock}, static_cast<const Stored*>(logits.data_ptr()),
                static_cast<Stored*>(result.data_ptr()), static_cast<const T*>(target.data_ptr()), lanes,
                SoftTerms<T>(options, lanes.size), log_sum_exp.data<double>(), mass.data<double>(),
                static_cast<const Stored*>(grad.data_ptr()), options.reduction == Reduction::kNone, divisor);
  });
}

}  // namespace taper::ops
