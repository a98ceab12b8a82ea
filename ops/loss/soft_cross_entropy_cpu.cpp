#include <cmath>

#include "taper/core/base/parallel.h"
#include "taper/ops/loss/class_targets.h"
#include "taper/ops/loss/soft_cross_entropy_backend.h"
#include "taper/ops/softmax/lane_tile.h"

namespace taper::ops {
namespace {

template <class T>
double share_of(const SoftTerms<T>& terms, double target, int64_t c) {
  const double q = terms.target_share * target + terms.class_share;
  return terms.weight ? double(terms.weight[c]) * q : q;
}

/// Computes the losses of a tile's lanes and what goes with them, in f64 except for the exponentials. The target's
/// lanes lie as `target_lanes` says, the logits' as `lanes`.
template <class T>
void soft_tile_losses(const T* x, const Lanes& lanes, const T* target, const Lanes& target_lanes,
                      int64_t width, const SoftTerms<T>& terms, double* losses, double* log_sum_exp,
                      double* mass) {
  T largest[kTileWidth];
  double sum[kTileWidth];
  tile_statistics(x, lanes, width, largest, sum);
  for (int64_t i = 0; i < width; ++i) {
    log_sum_exp[i] = double(largest[i]) + std::log(sum[i]);
    losses[i] = mass[i] = 0;
  }
  for (int64_t c = 0; c < lanes.size; ++c) {
    const T* logits = x + c * lanes.inner;
    const T* targets = target + c * target_lanes.inner;
    for (int64_t i = 0; i < width; ++i) {
      const double q = share_of(terms, double(targets[i]), c);
      losses[i] += q * (log_sum_exp[i] - double(logits[i]));
      mass[i] += q;
    }
  }
}

/// d loss / d x[c] = scale * (mass * p[c] - q[c]).
template <class T>
void soft_tile_gradient(const T* x, T* dx, const Lanes& lanes, const T* target, const Lanes& target_lanes,
                        int64_t width, const SoftTerms<T>& terms, const double* log_sum_exp,
                        const double* mass, const double* scales) {
  T factors[kTileWidth] = {};
  for (int64_t i = 0; i < width; ++i) factors[i] = T(scales[i] * mass[i]);
  map_tile(x, dx, lanes, width, log_sum_exp, factors,
           [](T v, double lse, T m) { return m * vector_math::exp(T(double(v) - lse)); });
  for (int64_t c = 0; c < lanes.size; ++c) {
    T* gradients = dx + c * lanes.inner;
    const T* targets = target + c * target_lanes.inner;
    for (int64_t i = 0; i < width; ++i) gradients[i] -= T(scales[i] * share_of(terms, double(targets[i]), c));
  }
}

}  // namespace

void soft_losses_cpu(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options,
                     const Tensor& losses, const Tensor& log_sum_exp, const Tensor& mass) {
  const Lanes lanes = lanes_of(logits, class_axis(logits));
  dispatch_float(logits.dtype(), "cross_entropy", [&]<class S>() {
    using T = ComputeType<S>;
    const SoftTerms<T> terms(options, lanes.size);
    const S* x = logits.data<S>();
    const T* t = target.data<T>();
    parallel_for(lanes.count(), lane_grain(lanes), [&](int64_t begin, int64_t end) {
      const TileValues<S> values(lanes);
      for_each_tile(lanes, begin, end, [&](int64_t start, int64_t lane, int64_t width) {
        soft_tile_losses(values.load(x + start, lanes, width), values.layout(lanes, width), t + start, lanes,
                         width, terms, losses.data<double>() + lane, log_sum_exp.data<double>() + lane,
                         mass.data<double>() + lane);
      });
    });
  });
}

void soft_gradient_cpu(const Tensor& grad, const Tensor& logits, const Tensor& target,
                       const CrossEntropyOptions& options, const Tensor& log_sum_exp, const Tensor& mass,
                       double divisor, const Tensor& result) {
  const Lanes lanes = lanes_of(logits, class_axis(logits));
  const bool per_position = options.reduction == Reduction::kNone;
  dispatch_float(logits.dtype(), "cross_entropy", [&]<class S>() {
    using T = ComputeType<S>;
    const SoftTerms<T> terms(options, lanes.size);
    const S* x = logits.data<S>();
    const T* t = target.data<T>();
    const S* upstream = grad.data<S>();
    S* dx = result.data<S>();
    parallel_for(lanes.count(), lane_grain(lanes), [&](int64_t begin, int64_t end) {
      const TileValues<S> values(lanes);
      for_each_tile(lanes, begin, end, [&](int64_t start, int64_t lane, int64_t width) {
        double scales[kTileWidth];
        for (int64_t i = 0; i < width; ++i)
          scales[i] = double(T(upstream[per_position ? lane + i : 0])) / divisor;
        soft_tile_gradient(values.load(x + start, lanes, width), values.target(dx + start),
                           values.layout(lanes, width), t + start, lanes, width, terms,
                           log_sum_exp.data<double>() + lane, mass.data<double>() + lane, scales);
        values.store(dx + start, lanes, width);
      });
    });
  });
}

}  // namespace taper::ops
