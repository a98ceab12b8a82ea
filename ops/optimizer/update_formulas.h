#pragma once
// What optimizer.h and layerwise.h compute for one element, written once for the CPU and the GPU.

#include <cmath>

#include "taper/core/base/host_device.h"

namespace taper::ops {

/// SGD's numbers in the dtype that an update computes in.
template <class T>
struct SgdFactors {
  T lr, momentum, fresh, weight_decay;  ///< fresh: 1 - dampening
  bool nesterov, first_step;

  TAPER_HOST_DEVICE T decayed(T grad, T param) const { return grad + weight_decay * param; }
  /// Moves a parameter by `grad`, which has been decayed.
  TAPER_HOST_DEVICE void move(T& param, T grad) const { param -= lr * grad; }
  TAPER_HOST_DEVICE void move(T& param, T grad, T& buffer) const {
    const T b = first_step ? grad : momentum * buffer + fresh * grad;
    buffer = b;
    param -= lr * (nesterov ? grad + momentum * b : b);
  }
};

/// The numbers of Adam and AdamW. One of grad_decay and 1 - keep is 0.
template <class T>
struct AdamFactors {
  T beta1, beta2, fresh1, fresh2, eps;
  T grad_decay;        ///< Adam's weight decay: joins the gradient
  T keep;              ///< 1 - lr * AdamW's weight decay
  T step_size;         ///< lr / (1 - beta1^step)
  T root_correction2;  ///< sqrt(1 - beta2^step)

  TAPER_HOST_DEVICE void move(T& param, T grad, T& exp_avg, T& exp_avg_sq) const {
    const T g = grad + grad_decay * param;
    exp_avg = beta1 * exp_avg + fresh1 * g;
    exp_avg_sq = beta2 * exp_avg_sq + fresh2 * g * g;
    param = keep * param - step_size * exp_avg / (std::sqrt(exp_avg_sq) / root_correction2 + eps);
  }
};

template <class T>
struct LambFactors {
  T rate;  ///< lr * trust ratio
  T beta1, beta2, fresh1, fresh2, eps, weight_decay;
  T correction1, root_correction2;  ///< 1 - beta1^step and sqrt(1 - beta2^step)

  TAPER_HOST_DEVICE void average(T grad, T& exp_avg, T& exp_avg_sq) const {
    exp_avg = beta1 * exp_avg + fresh1 * grad;
    exp_avg_sq = beta2 * exp_avg_sq + fresh2 * grad * grad;
  }
  /// Returns what the parameter would move by if `rate` were 1.
  TAPER_HOST_DEVICE T direction(T param, T exp_avg, T exp_avg_sq) const {
    return exp_avg / correction1 / (std::sqrt(exp_avg_sq) / root_correction2 + eps) + weight_decay * param;
  }
  TAPER_HOST_DEVICE void move(T& param, T exp_avg, T exp_avg_sq) const {
    param -= rate * direction(param, exp_avg, exp_avg_sq);
  }
};

/// Sums of the squares of a parameter and of what it would move by.
struct SquareSums {
  double param = 0, step = 0;
};

/// The factor on one parameter's learning rate: coefficient * |param| / (|step| + weight_decay * |param| +
/// eps), or 1 if one of the two norms is 0.
struct TrustRatio {
  double coefficient = 1, weight_decay = 0, eps = 0;

  TAPER_HOST_DEVICE double operator()(const SquareSums& sums) const {
    const double param = std::sqrt(sums.param), step = std::sqrt(sums.step);
    if (!(param > 0 && step > 0)) return 1;
    return coefficient * param / (step + weight_decay * param + eps);
  }
};

}  // namespace taper::ops
