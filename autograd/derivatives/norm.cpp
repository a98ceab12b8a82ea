#include "taper/autograd/derivatives/norm.h"  // spine 47 (docs/0-the-spine.md)

#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/autograd/tape/grad_mode.h"

namespace taper {

static void list_options(const BatchNormOptions& options, OptionList& list) {
  list.add("momentum", options.momentum);
  list.add("eps", options.eps);
  list.add("relu", options.relu);
}

namespace {

enum Input : size_t { kX, kWeight, kBias, kResidual };

/// All axes but the channels.
Dims pixel_axes(const Tensor& x) {
  return x.dim() == 4 ? Dims{0, 2, 3} : Dims{0};
}

/// Returns a parameter [C] in a shape that broadcasts along x.
Tensor along_channels(const Tensor& parameter, const Tensor& x) {
  Shape shape = Dims::filled(x.dim(), 1);
  shape[1] = x.size(1);
  return parameter.reshape(shape);
}

/// Returns the gradients of xhat * weight + bias + residual with respect to x, weight, bias and residual,
/// where xhat = (x - mean) * invstd. `grad` is that of the sum, before the ReLU. The caller has computed
/// `grad_x`.
Grads affine_gradients(const Backward& bw, const Tensor& grad, const Tensor& xhat, const Tensor& grad_x) {
  const Dims axes = pixel_axes(xhat);
  return {grad_x, bw.needs(kWeight) ? sum(grad * xhat, axes) : Tensor(),
          bw.needs(kBias) ? sum(grad, axes) : Tensor(), bw.needs(kResidual) ? grad : Tensor()};
}

/// Saved: x, relu_mask, weight, save_mean, save_invstd.
Grads fused_gradients(const Backward& bw, const BatchNormOptions& options) {
  const ops::BatchNormGrads grads =
      ops::batch_norm_backward(bw.grad(), bw.saved(0), bw.saved(1), bw.saved(2), bw.saved(3), bw.saved(4),
                               options, bw.needs(kResidual));
  return {grads.x, bw.needs(kWeight) ? grads.weight : Tensor(), bw.needs(kBias) ? grads.bias : Tensor(),
          grads.residual};
}

/// Returns what fused_gradients() returns, computed by differentiable functions. The statistics are computed
/// again from x, so that their dependence on x is recorded.
Grads differentiable_gradients(const Backward& bw, const BatchNormOptions& options) {
  const Tensor x = bw.saved(0), weight = bw.saved(2);
  const Dims axes = pixel_axes(x);
  const Tensor grad =
      options.relu ? relu_backward(bw.grad(), ops::unpack_relu_mask(bw.saved(1).detach(), x)) : bw.grad();
  const Tensor centered = x - mean(x, axes, true);
  const Tensor invstd = rsqrt(mean(square(centered), axes, true) + options.eps);
  const Tensor xhat = centered * invstd;
  Tensor grad_x = invstd * (grad - mean(grad, axes, true) - xhat * mean(grad * xhat, axes, true));
  if (weight.defined()) grad_x = grad_x * along_channels(weight, x);
  return affine_gradients(bw, grad, xhat, grad_x);
}

Tensor batch_norm_training(const Tensor& x, const Tensor& weight, const Tensor& bias,
                           const Tensor& running_mean, const Tensor& running_var,
                           const BatchNormOptions& options, const Tensor& residual,
                           const BatchMoments& moments) {
  Tape tape("batch_norm", {x, weight, bias, residual},
            {{"training", true}, options, {"running_mean", running_mean}, {"running_var", running_var}});
  const auto [y, save_mean, save_invstd, relu_mask] = ops::batch_norm_training(
      x, weight, bias, running_mean, running_var, options, residual, tape.recording(), moments);
  return tape.record(
      y, {x, relu_mask, weight, save_mean, save_invstd}, [options](const Backward& bw) -> Grads {
        return GradMode::is_enabled() ? differentiable_gradients(bw, options) : fused_gradients(bw, options);
      });
}

/// With given statistics the function is affine in x, and its gradients need no fusion. Saved: x, y (if
/// relu), weight, running_mean, running_var.
Grads inference_gradients(const Backward& bw, const BatchNormOptions& options) {
  const Tensor x = bw.saved(0), weight = bw.saved(2);
  const Tensor grad = options.relu ? relu_backward(bw.grad(), bw.saved(1)) : bw.grad();
  const Tensor invstd = along_channels(rsqrt(bw.saved(4) + options.eps), x);
  Tensor grad_x = grad * invstd;
  if (weight.defined()) grad_x = grad_x * along_channels(weight, x);
  return affine_gradients(bw, grad, (x - along_channels(bw.saved(3), x)) * invstd, grad_x);
}

Tensor batch_norm_inference(const Tensor& x, const Tensor& weight, const Tensor& bias,
                            const Tensor& running_mean, const Tensor& running_var,
                            const BatchNormOptions& options, const Tensor& residual) {
  Tape tape("batch_norm", {x, weight, bias, residual},
            {{"training", false}, options, {"running_mean", running_mean}, {"running_var", running_var}});
  const Tensor y = ops::batch_norm_inference(x, weight, bias, running_mean, running_var, options, residual);
  return tape.record(y, {x, options.relu ? y : Tensor(), weight, running_mean, running_var},
                     [options](const Backward& bw) -> Grads { return inference_gradients(bw, options); });
}

}  // namespace

Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                  const Tensor& running_var, bool training, const BatchNormOptions& options,
                  const Tensor& residual, const BatchMoments& moments) {
  if (const Autocast cast{"batch_norm", {x, residual}}) {
    // Moments in x's compute dtype are those of the widened x as well.
    return batch_norm(cast(x), weight, bias, running_mean, running_var, training, options, cast(residual),
                      moments);
  }
  return training
             ? batch_norm_training(x, weight, bias, running_mean, running_var, options, residual, moments)
             : batch_norm_inference(x, weight, bias, running_mean, running_var, options, residual);
}

}  // namespace taper
