#pragma once
// Updates whose learning rate differs from parameter to parameter, for batches of thousands of images: each
// parameter moves by a share of its own norm. That share, the trust ratio, keeps a layer with small weights
// and large gradients from leaping while another hardly moves. The rules for lists, dtypes, controls and
// copies are those of optimizer.h.
//
// On a GPU, three launches for up to 192 parameters: norms of all parameters and steps, then all ratios, then
// the update. They run on one stream, so the host never waits. PyTorch has no counterpart; NVIDIA's Apex has
// apex/optimizers/fused_lamb.py and apex/parallel/LARC.py, timm has timm/optim/lamb.py and lars.py.

#include "taper/ops/optimizer/optimizer.h"

namespace taper {

/// Named like the arguments of Apex's FusedLAMB and timm's Lamb. Their max_grad_norm is clip_grad_norm()
/// here.
struct LambOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-6;
  double weight_decay = 1e-2;
  /// false: without weight decay the ratio is 1, as Apex and timm have it. So a group for norms and biases
  /// without decay learns as with AdamW. true: every parameter has its ratio, as in the paper.
  bool always_adapt = false;
};

/// Named like the arguments of timm's Lars.
struct LarsOptions {
  double lr = 1;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
  double trust_coeff = 1e-3;  ///< the paper's eta
  double eps = 1e-8;          ///< in the ratio's denominator, as in Apex's LARC
  /// false: without weight decay the ratio is 1, as timm has it. So a group for norms and biases without
  /// decay learns as with SGD. true: every parameter has its ratio, as in the paper.
  bool always_adapt = false;
};

}  // namespace taper

namespace taper::ops {

/// m and v as in adam_update(); r = m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps) + weight_decay
/// * param; param -= lr * |param| / |r| * r, where the ratio of norms is 1 if one norm is 0. `step` counts
/// from 1. You et al. 2020, "Large batch optimization for deep learning: training BERT in 76 minutes",
/// https://arxiv.org/abs/1904.00962, algorithm 2 with the identity as phi.
void lamb_update(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                 const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                 const LambOptions& options, int64_t step, const UpdateControls& controls = {},
                 const std::vector<Tensor>& copies = {});

/// As sgd_update() with the gradient (grad + weight_decay * param) * ratio, where ratio = trust_coeff *
/// |param| / (|grad| + weight_decay * |param| + eps), or 1 if one norm is 0. You et al. 2017, "Large batch
/// training of convolutional networks", https://arxiv.org/abs/1708.03888, algorithm 1. There the learning
/// rate is a factor of what enters the buffer; here, as in timm, of what leaves it, so that a schedule acts
/// at once.
void lars_update(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                 const std::vector<Tensor>& momentum_buffers, const LarsOptions& options, bool first_step,
                 const UpdateControls& controls = {}, const std::vector<Tensor>& copies = {});

}  // namespace taper::ops
