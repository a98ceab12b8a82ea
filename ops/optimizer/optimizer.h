#pragma once  // spine 23 (docs/0-the-spine.md)
// Updates of many tensors in one call: an optimiser step over all parameters of a model is one parallel
// region on the CPU, whatever the number of tensors. PyTorch's counterparts: the single-tensor functions of
// torch/optim/sgd.py and adam.py, for the formulas, and the "foreach" kernels, for the speed.
//
// In every function, all lists have the same length, and tensors at the same position have the same shape.
// Tensors may have any float dtype and memory order; one that differs from the parameter's dense order and
// dtype is converted on the way in and out. Half types compute in f32. Everything that is written gets its
// version bumped. All functions throw Error naming the list and the position that do not fit. On a GPU each
// function is a launch or two for all tensors, and the host never waits.

#include <vector>

#include "taper/core/tensor.h"

namespace taper {

/// Named like the arguments of torch.optim.SGD.
struct SgdOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
};

/// Named like the arguments of torch.optim.Adam.
struct AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  bool decoupled_weight_decay = false;  ///< true: as AdamW decays, apart from the gradient
};

/// Named like the arguments of torch.optim.AdamW.
struct AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 1e-2;
};

/// Numbers in memory of the parameters' device, read when the update runs there. So a number that a GPU
/// computes need not come to the host, and a captured graph can be replayed with other values. One element
/// each; undefined ones are not used.
struct UpdateControls {
  Tensor lr = {};    ///< f64, instead of the options' lr
  Tensor step = {};  ///< f64, instead of Adam's step; for SGD and averages, 1 means the first
  Tensor skip = {};  ///< f32; if not 0, nothing changes: found_inf of unscale_
};

}  // namespace taper

namespace taper::ops {

/// g = grad + weight_decay * param; buffer = momentum * buffer + (1 - dampening) * g; param -= lr * buffer,
/// or with nesterov lr * (g + momentum * buffer). In the first step the buffer only receives g.
/// momentum_buffers: empty if momentum is 0. (torch.optim.SGD)
///
/// copies: empty, or for each parameter either an undefined tensor, or an f16 or bf16 tensor of an f32 or f64
/// parameter's shape and memory order. It receives the new parameter, rounded, in the same pass.
void sgd_update(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                const std::vector<Tensor>& momentum_buffers, const SgdOptions& options, bool first_step,
                const UpdateControls& controls = {}, const std::vector<Tensor>& copies = {});

/// g = grad + weight_decay * param; m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g^2;
/// param -= lr / (1 - beta1^step) * m / (sqrt(v / (1 - beta2^step)) + eps). `step` counts from 1. With
/// decoupled_weight_decay, g = grad, and param is first multiplied by 1 - lr * weight_decay. copies: as in
/// sgd_update(). Kingma & Ba 2015, https://arxiv.org/abs/1412.6980. (torch.optim.Adam)
void adam_update(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                 const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                 const AdamOptions& options, int64_t step, const UpdateControls& controls = {},
                 const std::vector<Tensor>& copies = {});

/// adam_update() with decoupled_weight_decay: Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101.
/// (torch.optim.AdamW)
void adamw_update(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                  const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                  const AdamWOptions& options, int64_t step, const UpdateControls& controls = {},
                  const std::vector<Tensor>& copies = {});

/// average = decay * average + (1 - decay) * param; average = param if controls.step is 1. controls.lr is not
/// used. (torch.optim.swa_utils.AveragedModel with a decay)
void ema_update(const std::vector<Tensor>& averages, const std::vector<Tensor>& params, double decay,
                const UpdateControls& controls = {});

/// Returns the Euclidean norm of all elements of all tensors: a scalar, f64 if one tensor is f64, else f32.
/// Squares are added in f64, in an order fixed by the shapes.
Tensor global_norm(const std::vector<Tensor>& tensors);

/// Multiplies every element by `factor`.
void scale_(const std::vector<Tensor>& tensors, double factor);
/// Multiplies every element by `factor`, a tensor of one element that need not travel to the host.
void scale_(const std::vector<Tensor>& tensors, const Tensor& factor);

/// Multiplies every element by inverse_scale and sets found_inf to 1 if a result is infinite or NaN; else
/// leaves found_inf unchanged. Throws Error unless both are f32 of one element on the tensors' device.
/// (torch._amp_foreach_non_finite_check_and_unscale_)
void unscale_(const std::vector<Tensor>& tensors, const Tensor& inverse_scale, const Tensor& found_inf);

}  // namespace taper::ops
