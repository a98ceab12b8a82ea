#include "taper/ops/loss/cross_entropy_cpu.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "taper/core/parallel.h"
#include "taper/ops/elementwise/vector_math.h"
#include "taper/ops/lanes.h"

namespace taper::ops {
namespace {

/// The part of the loss that is the same for every position.
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
  double total = 0;  ///< of the weights of all classes
};

/// The sum of exp(x - largest) over a lane, in f64. Exponentials go through a buffer so that they vectorise.
template <class T>
double sum_of_exponentials(const T* x, int64_t size, int64_t step, T largest) {
  constexpr int64_t kBuffer = 128;
  T buffer[kBuffer];
  double sum = 0;
  for (int64_t begin = 0; begin < size; begin += kBuffer) {
    const int64_t count = std::min(kBuffer, size - begin);
    for (int64_t i = 0; i < count; ++i) buffer[i] = vector_math::exp(x[(begin + i) * step] - largest);
    for (int64_t i = 0; i < count; ++i) sum += double(buffer[i]);
  }
  return sum;
}

/// The log-sum-exp of a lane and its loss, in f64 beyond the exponentials.
template <class T>
double lane_loss(const T* x, int64_t size, int64_t step, int64_t target, const Terms<T>& terms,
                 double& log_sum_exp) {
  T largest = x[0];
  for (int64_t c = 1; c < size; ++c) largest = std::max(largest, x[c * step]);
  log_sum_exp = double(largest) + std::log(sum_of_exponentials(x, size, step, largest));
  if (target == terms.ignore_index) return 0;
  double loss = terms.target_share * terms.weight_of(target) * (log_sum_exp - double(x[target * step]));
  if (terms.class_share > 0) {
    double smooth = 0;
    for (int64_t c = 0; c < size; ++c) smooth += terms.weight_of(c) * (log_sum_exp - double(x[c * step]));
    loss += terms.class_share * smooth;
  }
  return loss;
}

/// d loss / d x[c] = scale * (mass * p[c] - class_share * w[c]), less the target's own share at c = target.
template <class T>
void lane_gradient(const T* x, T* dx, int64_t size, int64_t step, int64_t target, const Terms<T>& terms,
                   double log_sum_exp, double scale) {
  if (target == terms.ignore_index) {
    for (int64_t c = 0; c < size; ++c) dx[c * step] = 0;
    return;
  }
  const double own = terms.target_share * terms.weight_of(target);
  const T mass = T(scale * (own + terms.class_share * terms.total));
  for (int64_t c = 0; c < size; ++c) {
    dx[c * step] = mass * vector_math::exp(T(double(x[c * step]) - log_sum_exp));
  }
  if (terms.class_share > 0) {
    for (int64_t c = 0; c < size; ++c) dx[c * step] -= T(scale * terms.class_share * terms.weight_of(c));
  }
  dx[target * step] -= T(scale * own);
}

}  // namespace

void cross_entropy_cpu(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options,
                       const CrossEntropy& out) {
  const Lanes lanes = lanes_of(logits, logits.dim() == 1 ? 0 : 1);
  const int64_t* targets = target.data<int64_t>();
  double* log_sum_exp = out.log_sum_exp.data<double>();
  // Partial sums per piece, added in order: the same bits for any number of threads.
  const int64_t grain = lane_grain(lanes);
  const int64_t pieces = (lanes.count() + grain - 1) / grain;
  std::vector<double> losses(size_t(pieces), 0), weights(size_t(pieces), 0);
  dispatch_compute_float(logits.dtype(), "cross_entropy", [&]<class T>() {
    const Terms<T> terms(options, lanes.size);
    const T* x = logits.data<T>();
    T* each = options.reduction == Reduction::kNone ? out.loss.data<T>() : nullptr;
    parallel_for(lanes.count(), grain, [&](int64_t begin, int64_t end) {
      for (int64_t lane = begin; lane < end; ++lane) {
        const int64_t y = targets[lane];
        const double loss =
            lane_loss(x + lanes.start(lane), lanes.size, lanes.inner, y, terms, log_sum_exp[lane]);
        if (each) each[lane] = T(loss);
        losses[size_t(begin / grain)] += loss;
        if (y != terms.ignore_index) weights[size_t(begin / grain)] += terms.weight_of(y);
      }
    });
    double loss = 0, weight = 0;
    for (const double piece : losses) loss += piece;
    for (const double piece : weights) weight += piece;
    *out.total_weight.data<double>() = weight;
    if (!each) *out.loss.data<T>() = T(options.reduction == Reduction::kMean ? loss / weight : loss);
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
  dispatch_compute_float(logits.dtype(), "cross_entropy", [&]<class T>() {
    const Terms<T> terms(options, lanes.size);
    const T* x = logits.data<T>();
    const T* upstream = grad.data<T>();
    T* dx = result.data<T>();
    const bool per_position = options.reduction == Reduction::kNone;
    parallel_for(lanes.count(), lane_grain(lanes), [&](int64_t begin, int64_t end) {
      for (int64_t lane = begin; lane < end; ++lane) {
        const int64_t start = lanes.start(lane);
        const double scale = double(upstream[per_position ? lane : 0]) / divisor;
        lane_gradient(x + start, dx + start, lanes.size, lanes.inner, targets[lane], terms, lse[lane], scale);
      }
    });
  });
}

}  // namespace taper::ops
