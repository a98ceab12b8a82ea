#include "taper/ops/optimizer/layerwise_cpu.h"

#include <cmath>

#include "taper/ops/optimizer/sum_of_squares.h"
#include "taper/ops/optimizer/tensor_row.h"
#include "taper/ops/optimizer/update_formulas.h"

namespace taper::ops {
namespace {

/// Part of one tensor. A tensor's parts, and so its sums, are the same whatever other tensors there are.
struct TensorPart {
  size_t tensor;
  int64_t begin, end;
};

std::vector<TensorPart> parts_of(const std::vector<Tensor>& tensors) {
  std::vector<TensorPart> parts;
  for (size_t i = 0; i < tensors.size(); ++i) {
    for (int64_t begin = 0; begin < tensors[i].numel(); begin += kPieceSize)
      parts.push_back({i, begin, std::min(begin + kPieceSize, tensors[i].numel())});
  }
  return parts;
}

/// Calls step.operator()<T>(i, begin, end, buffer), which returns what these elements of tensor i would move
/// by, in `buffer` or elsewhere, on ranges that cover all tensors, in one parallel region. Returns each
/// tensor's ratio.
template <class Step>
std::vector<double> ratios_of(const std::vector<Tensor>& params, const TrustRatio& ratio, Step&& step) {
  const std::vector<TensorPart> parts = parts_of(params);
  std::vector<SquareSums> sums(parts.size());
  parallel_chunks(int64_t(parts.size()), [&](int64_t chunk) {
    const TensorPart part = parts[size_t(chunk)];
    SquareSums& sum = sums[size_t(chunk)];
    dispatch_compute_float(params[part.tensor].dtype(), "optimizer", [&]<class T>() {
      const T* param = params[part.tensor].data<T>();
      T buffer[kBlockSize];  // stays in the first-level cache
      for (int64_t begin = part.begin; begin < part.end; begin += kBlockSize) {
        const int64_t end = std::min(begin + kBlockSize, part.end);
        const T* moved = step.template operator()<T>(part.tensor, begin, end, buffer);
        sum.param += sum_of_squares(param + begin, end - begin);
        sum.step += sum_of_squares(moved, end - begin);
      }
    });
  });
  std::vector<SquareSums> totals(params.size());
  for (size_t k = 0; k < parts.size(); ++k) {
    totals[parts[k].tensor].param += sums[k].param;
    totals[parts[k].tensor].step += sums[k].step;
  }
  std::vector<double> ratios;
  for (const SquareSums& total : totals) ratios.push_back(ratio(total));
  return ratios;
}

template <class T>
LambFactors<T> lamb_factors(const LambOptions& options, double rate, double correction1, double correction2) {
  return {.rate = T(rate),
          .beta1 = T(options.beta1),
          .beta2 = T(options.beta2),
          .fresh1 = T(1 - options.beta1),
          .fresh2 = T(1 - options.beta2),
          .eps = T(options.eps),
          .weight_decay = T(options.weight_decay),
          .correction1 = T(correction1),
          .root_correction2 = T(std::sqrt(correction2))};
}

}  // namespace

void lamb_update_cpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                     const LambOptions& options, int64_t step, const std::vector<Tensor>& copies) {
  const double correction1 = 1 - std::pow(options.beta1, double(step));
  const double correction2 = 1 - std::pow(options.beta2, double(step));
  const bool adapt = options.weight_decay != 0 || options.always_adapt;
  const auto average = [&]<class T>(size_t i, int64_t begin, int64_t end, T* buffer) {
    const LambFactors<T> f = lamb_factors<T>(options, 1, correction1, correction2);
    const T *param = params[i].data<T>(), *grad = grads[i].data<T>();
    T *m = exp_avgs[i].data<T>(), *v = exp_avg_sqs[i].data<T>();
    for (int64_t k = begin; k < end; ++k) {
      f.average(grad[k], m[k], v[k]);
      buffer[k - begin] = f.direction(param[k], m[k], v[k]);
    }
    return buffer;
  };
  const std::vector<double> ratios = ratios_of(params, {}, average);
  for_each_range(params, copies, [&]<class T>(size_t i, int64_t begin, int64_t end) {
    const double rate = options.lr * (adapt ? ratios[i] : 1);
    const LambFactors<T> f = lamb_factors<T>(options, rate, correction1, correction2);
    T* param = params[i].data<T>();
    const T *m = exp_avgs[i].data<T>(), *v = exp_avg_sqs[i].data<T>();
    for (int64_t k = begin; k < end; ++k) f.move(param[k], m[k], v[k]);
  });
}

void lars_update_cpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& momentum_buffers, const LarsOptions& options, bool first_step,
                     const std::vector<Tensor>& copies) {
  const TrustRatio ratio = {
      .coefficient = options.trust_coeff, .weight_decay = options.weight_decay, .eps = options.eps};
  std::vector<double> ratios;
  if (options.weight_decay != 0 || options.always_adapt)
    ratios = ratios_of(params, ratio, [&]<class T>(size_t i, int64_t begin, int64_t /*end*/, T*) {
      return grads[i].data<T>() + begin;
    });
  for_each_range(params, copies, [&]<class T>(size_t i, int64_t begin, int64_t end) {
    const SgdFactors<T> f = {.lr = T(options.lr),
                             .momentum = T(options.momentum),
                             .fresh = T(1 - options.dampening),
                             .weight_decay = T(options.weight_decay),
                             .nesterov = options.nesterov,
                             .first_step = first_step};
    const T adapted = T(ratios.empty() ? 1 : ratios[i]);
    T* param = params[i].data<T>();
    const T* grad = grads[i].data<T>();
    if (momentum_buffers.empty()) {
      for (int64_t k = begin; k < end; ++k) f.move(param[k], adapted * f.decayed(grad[k], param[k]));
      return;
    }
    T* buffer = momentum_buffers[i].data<T>();
    for (int64_t k = begin; k < end; ++k) f.move(param[k], adapted * f.decayed(grad[k], param[k]), buffer[k]);
  });
}

}  // namespace taper::ops
