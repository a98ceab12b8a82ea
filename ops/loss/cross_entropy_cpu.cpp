#include "taper/ops/loss/cross_entropy_cpu.h"

#include <cmath>
#include <vector>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"
#include "taper/ops/softmax/lane_tile.h"

namespace taper::ops {
namespace {

/// The part of the loss that is equal for every position.
template <class T>
struct Terms {
  Terms(const CrossEntropyOptions& options, int64_t classes)
      : weight(options.weight.defined() ? options.weight.data<T>() : nullptr),
        ignore_index(options.ignore_index),
        target_share(1 - options.label_smoothing),
        class_share(options.label_smoothing / double(classes)) {
    for (int64_t c = 0; c < classes; ++c) total += weight_of(c);
  }
  double weight_of(int64_t c) const { return weight ? double(weight[c]) : 1; }

  const T* weight;
  int64_t ignore_index;
  double target_share, class_share;
  double total = 0;  ///< sum of the weights of all classes
};

/// Returns what label smoothing adds to a lane's loss: the mean over all classes.
template <class T>
double smoothed_loss(const T* x, const Lanes& lanes, const Terms<T>& terms, double log_sum_exp) {
  double sum = 0;
  for (int64_t c = 0; c < lanes.size; ++c) {
    sum += terms.weight_of(c) * (log_sum_exp - double(x[c * lanes.inner]));
  }
  return terms.class_share * sum;
}

/// Computes the losses and log-sum-exps of a tile's lanes, in f64 except for the exponentials.
template <class T>
void tile_losses(const T* x, const Lanes& lanes, int64_t width, const int64_t* targets, const Terms<T>& terms,
                 double* log_sum_exp, double* losses) {
  T largest[kTileWidth];
  double sum[kTileWidth];
  tile_statistics(x, lanes, width, largest, sum);
  for (int64_t i = 0; i < width; ++i) {
    log_sum_exp[i] = double(largest[i]) + std::log(sum[i]);
    losses[i] = 0;
    const int64_t y = targets[i];
    if (y == terms.ignore_index) continue;
    losses[i] = terms.target_share * terms.weight_of(y) * (log_sum_exp[i] - double(x[i + y * lanes.inner]));
    if (terms.class_share > 0) losses[i] += smoothed_loss(x + i, lanes, terms, log_sum_exp[i]);
  }
}

/// d loss / d x[c] = scale * (mass * p[c] - class_share * w[c]), minus the target's own share at c = target.
template <class T>
void tile_gradient(const T* x, T* dx, const Lanes& lanes, int64_t width, const int64_t* targets,
                   const Terms<T>& terms, const double* log_sum_exp, const double* scales) {
  T mass[kTileWidth] = {};
  for (int64_t i = 0; i < width; ++i) {
    const bool ignored = targets[i] == terms.ignore_index;
    const double own = ignored ? 0 : terms.target_share * terms.weight_of(targets[i]);
    mass[i] = ignored ? T(0) : T(scales[i] * (own + terms.class_share * terms.total));
  }
  map_tile(x, dx, lanes, width, log_sum_exp, mass,
           [](T v, double lse, T m) { return m * vector_math::exp(T(double(v) - lse)); });
  for (int64_t i = 0; i < width; ++i) {
    const int64_t y = targets[i];
    T* lane = dx + i;
    if (y == terms.ignore_index) {  // 0 times the probability may be NaN
      for (int64_t c = 0; c < lanes.size; ++c) lane[c * lanes.inner] = 0;
      continue;
    }
    if (terms.class_share > 0) {
      const double share = scales[i] * terms.class_share;
      for (int64_t c = 0; c < lanes.size; ++c) lane[c * lanes.inner] -= T(share * terms.weight_of(c));
    }
    lane[y * lanes.inner] -= T(scales[i] * terms.target_share * terms.weight_of(y));
  }
}

}  // namespace

void cross_entropy_cpu(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options,
                       const CrossEntropy& out) {
  const Lanes lanes = lanes_of(logits, logits.dim() == 1 ? 0 : 1);
  const int64_t* targets = target.data<int64_t>();
  double* log_sum_exp = out.log_sum_exp.data<double>();
  // Partial sums per piece, added in order: equal to the bit for any number of threads.
  const int64_t grain = lane_grain(lanes);
  const int64_t pieces = ceil_div(lanes.count(), grain);
  std::vector<double> losses(size_t(pieces), 0), weights(size_t(pieces), 0);
  dispatch_float(logits.dtype(), "cross_entropy", [&]<class S>() {
    const Terms<ComputeType<S>> terms(options, lanes.size);
    const S* x = logits.data<S>();
    S* each = options.reduction == Reduction::kNone ? out.loss.data<S>() : nullptr;
    parallel_for(lanes.count(), grain, [&](int64_t begin, int64_t end) {
      const TileValues<S> values(lanes);
      for_each_tile(lanes, begin, end, [&](int64_t start, int64_t lane, int64_t width) {
        double tile[kTileWidth];
        tile_losses(values.load(x + start, lanes, width), values.layout(lanes, width), width, targets + lane,
                    terms, log_sum_exp + lane, tile);
        for (int64_t i = 0; i < width; ++i) {
          if (each) each[lane + i] = S(ComputeType<S>(tile[i]));
          losses[size_t(begin / grain)] += tile[i];
          const int64_t y = targets[lane + i];
          if (y != terms.ignore_index) weights[size_t(begin / grain)] += terms.weight_of(y);
        }
      });
    });
    double loss = 0, weight = 0;
    for (const double piece : losses) loss += piece;
    for (const double piece : weights) weight += piece;
    *out.total_weight.data<double>() = weight;
    if (options.reduction == Reduction::kMean) loss /= weight;
    if (!each) *out.loss.data<S>() = S(ComputeType<S>(loss));
  });
}

void cross_entropy_backward_cpu(const Tensor& grad, const Tensor& logits, const Tensor& target,
                                const Tensor& log_sum_exp, const Tensor& total_weight,
                                const CrossEntropyOptions& options, const Tensor& result) {
  const Lanes lanes = lanes_of(logits, logits.dim() == 1 ? 0 : 1);
  const int64_t* targets = target.data<int64_t>();
  const double* lse = log_sum_exp.data<double>();
  const bool mean = options.reduction == Reduction::kMean;
  const double divisor = mean ? *total_weight.data<double>() : 1;
  dispatch_float(logits.dtype(), "cross_entropy", [&]<class S>() {
    using T = ComputeType<S>;
    const Terms<T> terms(options, lanes.size);
    const S* x = logits.data<S>();
    const S* upstream = grad.data<S>();
    S* dx = result.data<S>();
    const bool per_position = options.reduction == Reduction::kNone;
    parallel_for(lanes.count(), lane_grain(lanes), [&](int64_t begin, int64_t end) {
      const TileValues<S> values(lanes);
      for_each_tile(lanes, begin, end, [&](int64_t start, int64_t lane, int64_t width) {
        double scales[kTileWidth];
        for (int64_t i = 0; i < width; ++i) {
          scales[i] = double(T(upstream[per_position ? lane + i : 0])) / divisor;
        }
        tile_gradient(values.load(x + start, lanes, width), values.target(dx + start),
                      values.layout(lanes, width), width, targets + lane, terms, lse + lane, scales);
        values.store(dx + start, lanes, width);
      });
    });
  });
}

}  // namespace taper::ops
