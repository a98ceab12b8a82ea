#include "taper/nn/layers/batch_norm2d.h"  // spine 56 (docs/0-the-spine.md)

#include "taper/autograd/derivatives/norm.h"
#include "taper/autograd/derivatives/sync_batch_norm.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"

namespace taper {

BatchNorm2d::BatchNorm2d(int64_t channels, double eps_, double momentum_) : eps(eps_), momentum(momentum_) {
  TAPER_CHECK(channels >= 1, "BatchNorm2d: needs at least 1 channel, got {}", channels);
  weight = register_parameter("weight", ops::ones({channels}));
  bias = register_parameter("bias", ops::zeros({channels}));
  running_mean = register_buffer("running_mean", ops::zeros({channels}));
  running_var = register_buffer("running_var", ops::ones({channels}));
  // Weights of PyTorch before 0.4.1, torchvision's of that time among them, have no such counter.
  num_batches_tracked =
      register_buffer("num_batches_tracked", ops::zeros({}, {.dtype = kInt64}), InState::kOptional);
}

Tensor BatchNorm2d::forward(const Tensor& x, const BatchNormFusion& fusion, const BatchMoments& moments) {
  TAPER_CHECK(x.dim() == 4, "BatchNorm2d: input must be [N, C, H, W], got {}", x.shape());
  if (uses_batch_statistics()) ops::add_(num_batches_tracked, 1);
  const BatchNormOptions options{.momentum = momentum, .eps = eps, .relu = fusion.relu};
  if (uses_batch_statistics() && group_)
    return sync_batch_norm(x, weight, bias, running_mean, running_var, *group_, options, fusion.residual,
                           moments);
  return batch_norm(x, weight, bias, running_mean, running_var, uses_batch_statistics(), options,
                    fusion.residual, moments);
}

Tensor BatchNorm2d::operator()(const Tensor& x, const BatchNormFusion& fusion) {
  return run_with_hooks(x, [&](const Tensor& input) { return forward(input, fusion); });
}

int64_t BatchNorm2d::flops(const Tensor&, const Tensor& output) const {
  return 2 * output.numel();  // a factor and a term for each element; the statistics come on top in training
}

}  // namespace taper
