#include "taper/ops/optimizer/optimizer_cpu.h"  // spine 35 (docs/0-the-spine.md)

#include <algorithm>
#include <atomic>
#include <cmath>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"

namespace taper::ops {
namespace {

/// Elements per parallel piece, counted over all tensors of a list.
constexpr int64_t kPieceSize = 32768;

/// A list of tensors as one long row of elements, cut into pieces. A piece holds many small tensors or part
/// of one.
class Row {
 public:
  explicit Row(const std::vector<Tensor>& tensors) {
    for (const Tensor& x : tensors) ends_.push_back((ends_.empty() ? 0 : ends_.back()) + x.numel());
  }
  int64_t pieces() const { return ends_.empty() ? 0 : ceil_div(ends_.back(), kPieceSize); }

  /// Calls body(i, begin, end) for the elements of each tensor i that lie in `piece`.
  template <class Body>
  void visit(int64_t piece, Body&& body) const {
    int64_t at = piece * kPieceSize;
    const int64_t stop = std::min(at + kPieceSize, ends_.back());
    for (size_t i = size_t(std::upper_bound(ends_.begin(), ends_.end(), at) - ends_.begin()); at < stop;
         ++i) {
      const int64_t first = i == 0 ? 0 : ends_[i - 1];
      const int64_t until = std::min(ends_[i], stop);
      if (until > at) body(i, at - first, until - first);
      at = until;
    }
  }

 private:
  std::vector<int64_t> ends_;  ///< where each tensor's elements end in the row
};

/// Calls body.operator()<T>(i, begin, end) for ranges that cover all tensors, in one parallel region.
template <class Body>
void for_each_range(const std::vector<Tensor>& tensors, Body&& body) {
  const Row row(tensors);
  parallel_chunks(row.pieces(), [&](int64_t piece) {
    row.visit(piece, [&](size_t i, int64_t begin, int64_t end) {
      dispatch_compute_float(tensors[i].dtype(), "optimizer",
                             [&]<class T>() { body.template operator()<T>(i, begin, end); });
    });
  });
}

/// Eight sums side by side keep the processor's adders busy; their order never changes.
template <class T>
double sum_of_squares(const T* x, int64_t count) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int64_t k = 0; k < 8; ++k) sums[k] += double(x[i + k]) * double(x[i + k]);
  }
  for (; i < count; ++i) sums[i % 8] += double(x[i]) * double(x[i]);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

}  // namespace

void sgd_update_cpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                    const std::vector<Tensor>& momentum_buffers, const SgdOptions& options, bool first_step) {
  for_each_range(params, [&]<class T>(size_t i, int64_t begin, int64_t end) {
    T* param = params[i].data<T>();
    const T* grad = grads[i].data<T>();
    const T lr = T(options.lr), momentum = T(options.momentum), fresh = T(1 - options.dampening);
    const T weight_decay = T(options.weight_decay);
    if (momentum_buffers.empty()) {
      for (int64_t k = begin; k < end; ++k) param[k] -= lr * (grad[k] + weight_decay * param[k]);
      return;
    }
    T* buffer = momentum_buffers[i].data<T>();
    for (int64_t k = begin; k < end; ++k) {
      const T g = grad[k] + weight_decay * param[k];
      const T b = first_step ? g : momentum * buffer[k] + fresh * g;
      buffer[k] = b;
      param[k] -= lr * (options.nesterov ? g + momentum * b : b);
    }
  });
}

void adamw_update_cpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                      const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                      const AdamWOptions& options, int64_t step) {
  const double correction1 = 1 - std::pow(options.beta1, double(step));
  const double correction2 = 1 - std::pow(options.beta2, double(step));
  for_each_range(params, [&]<class T>(size_t i, int64_t begin, int64_t end) {
    T* param = params[i].data<T>();
    const T* grad = grads[i].data<T>();
    T* m = exp_avgs[i].data<T>();
    T* v = exp_avg_sqs[i].data<T>();
    const T beta1 = T(options.beta1), beta2 = T(options.beta2), eps = T(options.eps);
    const T fresh1 = T(1 - options.beta1), fresh2 = T(1 - options.beta2);
    const T keep = T(1 - options.lr * options.weight_decay), step_size = T(options.lr / correction1);
    const T root_correction2 = T(std::sqrt(correction2));
    for (int64_t k = begin; k < end; ++k) {
      m[k] = beta1 * m[k] + fresh1 * grad[k];
      v[k] = beta2 * v[k] + fresh2 * grad[k] * grad[k];
      param[k] = keep * param[k] - step_size * m[k] / (std::sqrt(v[k]) / root_correction2 + eps);
    }
  });
}

void ema_update_cpu(const std::vector<Tensor>& averages, const std::vector<Tensor>& params, double decay) {
  for_each_range(averages, [&]<class T>(size_t i, int64_t begin, int64_t end) {
    T* average = averages[i].data<T>();
    const T* param = params[i].data<T>();
    const T keep = T(decay), fresh = T(1 - decay);
    for (int64_t k = begin; k < end; ++k) average[k] = keep * average[k] + fresh * param[k];
  });
}

double sum_of_squares_cpu(const std::vector<Tensor>& tensors) {
  const Row row(tensors);
  std::vector<double> sums(size_t(row.pieces()), 0);
  parallel_chunks(row.pieces(), [&](int64_t piece) {
    row.visit(piece, [&](size_t i, int64_t begin, int64_t end) {
      sums[size_t(piece)] += dispatch_compute_float(tensors[i].dtype(), "global_norm", [&]<class T>() {
        return sum_of_squares(tensors[i].data<T>() + begin, end - begin);
      });
    });
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

void scale_cpu(const std::vector<Tensor>& tensors, double factor) {
  for_each_range(tensors, [&]<class T>(size_t i, int64_t begin, int64_t end) {
    T* x = tensors[i].data<T>();
    for (int64_t k = begin; k < end; ++k) x[k] *= T(factor);
  });
}

bool unscale_cpu(const std::vector<Tensor>& tensors, double factor) {
  std::atomic<bool> finite = true;
  for_each_range(tensors, [&]<class T>(size_t i, int64_t begin, int64_t end) {
    T* x = tensors[i].data<T>();
    bool all = true;
    for (int64_t k = begin; k < end; ++k) {
      x[k] *= T(factor);
      all = all && std::isfinite(x[k]);
    }
    if (!all) finite = false;
  });
  return finite;
}

}  // namespace taper::ops
