#pragma once
// The kernels behind soft_cross_entropy.h. Those of the GPU only enqueue, on the current stream.
//
// logits: any floating dtype, row-major or channels_last. target: the logits' geometry, their compute dtype. weight:
// that dtype, row-major, or undefined. losses, log_sum_exp and mass: f64, row-major, one value for each position.

#include "taper/ops/loss/cross_entropy.h"

namespace taper::ops {

/// The q of soft_cross_entropy.h: what the logarithm of a class's probability is weighted with.
template <class T>
struct SoftTerms {
  const T* weight;  ///< of each class, or null
  double target_share, class_share;

  SoftTerms(const CrossEntropyOptions& options, int64_t classes)
      : weight(options.weight.defined() ? static_cast<const T*>(options.weight.data_ptr()) : nullptr),
        target_share(1 - options.label_smoothing),
        class_share(options.label_smoothing / double(classes)) {}
};

/// Writes losses, log_sum_exp and mass.
void soft_losses_cpu(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options,
                     const Tensor& losses, const Tensor& log_sum_exp, const Tensor& mass);
void soft_losses_gpu(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options,
                     const Tensor& losses, const Tensor& log_sum_exp, const Tensor& mass);

/// Writes `result`, which has the logits' geometry and dtype. grad: scalar, or a value for each position with
/// Reduction::kNone; row-major, the logits' dtype. divisor: what the loss was divided by.
void soft_gradient_cpu(const Tensor& grad, const Tensor& logits, const Tensor& target,
                       const CrossEntropyOptions& options, const Tensor& log_sum_exp, const Tensor& mass,
                       double divisor, const Tensor& result);
void soft_gradient_gpu(const Tensor& grad, const Tensor& logits, const Tensor& target,
                       const CrossEntropyOptions& options, const Tensor& log_sum_exp, const Tensor& mass,
                       double divisor, const Tensor& result);

}  // namespace taper::ops
