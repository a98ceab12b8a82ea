// The CPU kernels of this computer's level (kernel_table.h), under the names that others call.

#include "taper/core/base/cpu_level.h"
#include "taper/ops/cpu_levels/kernel_table.h"

namespace taper::ops {
namespace {

const CpuKernels& kernels_of(CpuLevel level) {
  if (level >= CpuLevel::kAvx512) return taper_cpu_kernels_avx512;
  if (level >= CpuLevel::kAvx2) return taper_cpu_kernels_avx2;
  return taper_cpu_kernels_baseline;
}

const CpuKernels& kernels() {
  static const CpuKernels& chosen = kernels_of(cpu_level());
  return chosen;
}

}  // namespace

std::vector<Algorithm> conv2d_cpu_algorithms(const Conv2dCall& call) {
  return kernels().conv2d_algorithms(call);
}

std::vector<Algorithm> winograd_f64_algorithms(const Conv2dCall& call) {
  return kernels().winograd_f64(call);
}

void copy_cpu(const Tensor& dst, const Tensor& src) {
  kernels().copy(dst, src);
}

void fill_cpu(const Tensor& x, Scalar value) {
  kernels().fill(x, value);
}

void elementwise_cpu(ElementwiseOp op, const Tensor& out, std::span<const Tensor> inputs, DType compute) {
  kernels().elementwise(op, out, inputs, compute);
}

void normalize_images_cpu(const NormalizeImagesArgs& args) {
  kernels().normalize_images(args);
}

int64_t find_out_of_range_cpu(const Tensor& index, int64_t limit) {
  return kernels().find_out_of_range(index, limit);
}

void index_select_cpu(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& result) {
  kernels().index_select(x, axis, index, result);
}

void gather_cpu(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& result) {
  kernels().gather(x, axis, index, result);
}

void one_hot_cpu(const Tensor& index, int64_t classes, const Tensor& result) {
  kernels().one_hot(index, classes, result);
}

void index_add_cpu(const Tensor& self, int64_t axis, const Tensor& index, const Tensor& source) {
  kernels().index_add(self, axis, index, source);
}

void scatter_add_cpu(const Tensor& self, int64_t axis, const Tensor& index, const Tensor& source) {
  kernels().scatter_add(self, axis, index, source);
}

void cross_entropy_cpu(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options,
                       const CrossEntropy& out) {
  kernels().cross_entropy(logits, target, options, out);
}

void cross_entropy_backward_cpu(const Tensor& grad, const Tensor& logits, const Tensor& target,
                                const Tensor& log_sum_exp, const Tensor& total_weight,
                                const CrossEntropyOptions& options, const Tensor& result) {
  kernels().cross_entropy_backward(grad, logits, target, log_sum_exp, total_weight, options, result);
}

void soft_losses_cpu(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options,
                     const Tensor& losses, const Tensor& log_sum_exp, const Tensor& mass) {
  kernels().soft_losses(logits, target, options, losses, log_sum_exp, mass);
}

void soft_gradient_cpu(const Tensor& grad, const Tensor& logits, const Tensor& target,
                       const CrossEntropyOptions& options, const Tensor& log_sum_exp, const Tensor& mass,
                       double divisor, const Tensor& result) {
  kernels().soft_gradient(grad, logits, target, options, log_sum_exp, mass, divisor, result);
}

void matmul_cpu(const Tensor& a, const Tensor& b, double beta, const Tensor& c) {
  kernels().matmul(a, b, beta, c);
}

std::vector<Algorithm> matmul_cpu_algorithms(const MatmulCall& call) {
  return kernels().matmul_algorithms(call);
}

bool is_matrix_layout(const Tensor& x) {
  return kernels().has_matrix_layout(x);
}

BatchNormOutput batch_norm_training_cpu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                        const Tensor& running_mean, const Tensor& running_var,
                                        const BatchNormOptions& options, const Tensor& residual,
                                        bool for_backward, const BatchMoments& moments) {
  return kernels().batch_norm_training(x, weight, bias, running_mean, running_var, options, residual,
                                       for_backward, moments);
}

Tensor batch_norm_inference_cpu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                const Tensor& running_mean, const Tensor& running_var,
                                const BatchNormOptions& options, const Tensor& residual) {
  return kernels().batch_norm_inference(x, weight, bias, running_mean, running_var, options, residual);
}

BatchNormGrads batch_norm_backward_cpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                       const Tensor& weight, const Tensor& save_mean,
                                       const Tensor& save_invstd, const BatchNormOptions& options,
                                       bool needs_residual) {
  return kernels().batch_norm_backward(grad, x, relu_mask, weight, save_mean, save_invstd, options,
                                       needs_residual);
}

BatchNormGrads batch_norm_backward_sums_cpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                            const Tensor& save_mean, const Tensor& save_invstd,
                                            const BatchNormOptions& options, bool needs_residual) {
  return kernels().batch_norm_backward_sums(grad, x, relu_mask, save_mean, save_invstd, options,
                                            needs_residual);
}

Tensor batch_norm_backward_input_cpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                     const Tensor& weight, const Tensor& save_mean, const Tensor& save_invstd,
                                     const Tensor& grad_weight, const Tensor& grad_bias,
                                     const Tensor& count) {
  return kernels().batch_norm_backward_input(grad, x, relu_mask, weight, save_mean, save_invstd, grad_weight,
                                             grad_bias, count);
}

void batch_moments_cpu(const Tensor& x, const BatchMoments& to) {
  kernels().batch_moments(x, to);
}

Tensor unpack_relu_mask_cpu(const Tensor& relu_mask, const Tensor& x) {
  return kernels().unpack_relu_mask(relu_mask, x);
}

void sgd_update_cpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                    const std::vector<Tensor>& momentum_buffers, const SgdOptions& options, bool first_step,
                    const std::vector<Tensor>& copies) {
  kernels().sgd_update(params, grads, momentum_buffers, options, first_step, copies);
}

void adam_update_cpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                     const AdamOptions& options, int64_t step, const std::vector<Tensor>& copies) {
  kernels().adam_update(params, grads, exp_avgs, exp_avg_sqs, options, step, copies);
}

void lamb_update_cpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                     const LambOptions& options, int64_t step, const std::vector<Tensor>& copies) {
  kernels().lamb_update(params, grads, exp_avgs, exp_avg_sqs, options, step, copies);
}

void lars_update_cpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& momentum_buffers, const LarsOptions& options, bool first_step,
                     const std::vector<Tensor>& copies) {
  kernels().lars_update(params, grads, momentum_buffers, options, first_step, copies);
}

void ema_update_cpu(const std::vector<Tensor>& averages, const std::vector<Tensor>& params, double decay,
                    bool first_step) {
  kernels().ema_update(averages, params, decay, first_step);
}

double sum_of_squares_cpu(const std::vector<Tensor>& tensors) {
  return kernels().sum_of_squares(tensors);
}

void scale_cpu(const std::vector<Tensor>& tensors, double factor) {
  kernels().scale(tensors, factor);
}

bool unscale_cpu(const std::vector<Tensor>& tensors, double factor) {
  return kernels().unscale(tensors, factor);
}

void max_pool2d_cpu(const Tensor& x, const MaxPoolAxes& axes, const Tensor& y, const Tensor& indices) {
  kernels().max_pool2d(x, axes, y, indices);
}

void max_pool2d_backward_cpu(const Tensor& grad, const Tensor& indices, const MaxPoolAxes& axes,
                             const Tensor& grad_x) {
  kernels().max_pool2d_backward(grad, indices, axes, grad_x);
}

void max_pool2d_gather_cpu(const Tensor& x, const Tensor& indices, const Tensor& y) {
  kernels().max_pool2d_gather(x, indices, y);
}

void avg_pool2d_cpu(const Tensor& x, const AveragePoolAxes& axes, const Tensor& y) {
  kernels().avg_pool2d(x, axes, y);
}

void avg_pool2d_backward_cpu(const Tensor& grad, const AveragePoolAxes& axes, const Tensor& grad_x) {
  kernels().avg_pool2d_backward(grad, axes, grad_x);
}

void uniform_cpu(const Tensor& x, double low, double high, GeneratorState state) {
  kernels().uniform(x, low, high, state);
}

void normal_cpu(const Tensor& x, double mean, double std, GeneratorState state) {
  kernels().normal(x, mean, std, state);
}

void bernoulli_cpu(const Tensor& x, double p, GeneratorState state) {
  kernels().bernoulli(x, p, state);
}

void randint_cpu(const Tensor& x, int64_t low, uint64_t range, bool wide, GeneratorState state) {
  kernels().randint(x, low, range, wide, state);
}

void shuffle_cpu(const Tensor& x, GeneratorState state) {
  kernels().shuffle(x, state);
}

void reduce_cpu(ReduceOp op, const Tensor& out, const Tensor& x, const Dims& axes) {
  kernels().reduce(op, out, x, axes);
}

void reduce_indices_cpu(ReduceOp op, const Tensor& values, const Tensor& indices, const Tensor& x,
                        int64_t axis) {
  kernels().reduce_indices(op, values, indices, x, axis);
}

void topk_cpu(const Tensor& values, const Tensor& indices, const Tensor& x, bool largest) {
  kernels().topk(values, indices, x, largest);
}

void softmax_cpu(const Tensor& x, const Tensor& y, int64_t axis, bool logarithm) {
  kernels().softmax(x, y, axis, logarithm);
}

}  // namespace taper::ops
