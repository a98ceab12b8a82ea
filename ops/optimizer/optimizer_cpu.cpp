#include "taper/ops/optimizer/optimizer_cpu.h"  // spine 35 (docs/0-the-spine.md)

#include <atomic>
#include <cmath>

#include "taper/ops/optimizer/sum_of_squares.h"
#include "taper/ops/optimizer/tensor_row.h"
#include "taper/ops/optimizer/update_formulas.h"

namespace taper::ops {

void sgd_update_cpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                    const std::vector<Tensor>& momentum_buffers, const SgdOptions& options, bool first_step,
                    const std::vector<Tensor>& copies) {
  for_each_range(params, copies, [&]<class T>(size_t i, int64_t begin, int64_t end) {
    T* param = params[i].data<T>();
    const T* grad = grads[i].data<T>();
    const SgdFactors<T> f = {.lr = T(options.lr),
                             .momentum = T(options.momentum),
                             .fresh = T(1 - options.dampening),
                             .weight_decay = T(options.weight_decay),
                             .nesterov = options.nesterov,
                             .first_step = first_step};
    if (momentum_buffers.empty()) {
      for (int64_t k = begin; k < end; ++k) f.move(param[k], f.decayed(grad[k], param[k]));
      return;
    }
    T* buffer = momentum_buffers[i].data<T>();
    for (int64_t k = begin; k < end; ++k) f.move(param[k], f.decayed(grad[k], param[k]), buffer[k]);
  });
}

void adam_update_cpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                     const AdamOptions& options, int64_t step, const std::vector<Tensor>& copies) {
  const double correction1 = 1 - std::pow(options.beta1, double(step));
  const double correction2 = 1 - std::pow(options.beta2, double(step));
  const bool decoupled = options.decoupled_weight_decay;
  for_each_range(params, copies, [&]<class T>(size_t i, int64_t begin, int64_t end) {
    T* param = params[i].data<T>();
    const T* grad = grads[i].data<T>();
    T* m = exp_avgs[i].data<T>();
    T* v = exp_avg_sqs[i].data<T>();
    const AdamFactors<T> f = {.beta1 = T(options.beta1),
                              .beta2 = T(options.beta2),
                              .fresh1 = T(1 - options.beta1),
                              .fresh2 = T(1 - options.beta2),
                              .eps = T(options.eps),
                              .grad_decay = decoupled ? T(0) : T(options.weight_decay),
                              .keep = decoupled ? T(1 - options.lr * options.weight_decay) : T(1),
                              .step_size = T(options.lr / correction1),
                              .root_correction2 = T(std::sqrt(correction2))};
    for (int64_t k = begin; k < end; ++k) f.move(param[k], grad[k], m[k], v[k]);
  });
}

void ema_update_cpu(const std::vector<Tensor>& averages, const std::vector<Tensor>& params, double decay,
                    bool first_step) {
  for_each_range(averages, [&]<class T>(size_t i, int64_t begin, int64_t end) {
    T* average = averages[i].data<T>();
    const T* param = params[i].data<T>();
    const T keep = T(decay), fresh = T(1 - decay);
    for (int64_t k = begin; k < end; ++k) {
      average[k] = first_step ? param[k] : keep * average[k] + fresh * param[k];
    }
  });
}

double sum_of_squares_cpu(const std::vector<Tensor>& tensors) {
  const TensorRow row(tensors);
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
