#include "taper/autograd/derivatives/sync_batch_norm.h"

#include "taper/autograd/derivatives/norm.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/index/join.h"
#include "taper/ops/moments/merge_moments.h"

namespace taper {
namespace {

/// Returns the moments of all ranks' x as one batch, the same bits on every rank. own: x's if known.
BatchMoments gather_moments(const Tensor& x, const BatchMoments& own, ProcessGroup& group) {
  const BatchMoments part = own.mean.defined() ? own : ops::batch_moments(x);
  const int64_t channels = x.size(1);
  const Tensor parts =
      empty({group.size(), 1 + 2 * channels}, {.dtype = compute_dtype(x.dtype()), .device = x.device()});
  const Tensor row = views::select(parts, 0, group.rank());
  // In f32 a number of values beyond 2^24 is rounded, and with it the part's share, by less than moments are.
  ops::fill_(views::narrow(row, 0, 0, 1), channels == 0 ? 0 : x.numel() / channels);
  ops::copy_(views::narrow(row, 0, 1, channels), part.mean);
  ops::copy_(views::narrow(row, 0, 1 + channels, channels), part.var);
  group.all_gather(parts, "batch norm moments").wait();
  return ops::merge_moments(parts);
}

enum SyncInput : size_t { kSyncX, kSyncWeight, kSyncBias, kSyncResidual };

/// x's gradient follows from the sums over all ranks; those of weight and bias are this rank's sums. Saved: x,
/// relu_mask, weight, save_mean, save_invstd, count.
Grads sync_gradients(const Backward& bw, const BatchNormOptions& options, ProcessGroup& group) {
  const Tensor x = bw.saved(0), weight = bw.saved(2), mean = bw.saved(3), invstd = bw.saved(4);
  Tensor grad = bw.grad(), mask = bw.saved(1);
  const ops::BatchNormGrads own =
      ops::batch_norm_backward_sums(grad, x, mask, mean, invstd, options, bw.needs(kSyncResidual));
  const Tensor all = ops::cat({own.weight, own.bias});
  group.all_reduce(all, ReduceOp::kSum, "batch norm gradients").wait();
  if (own.residual.defined()) grad = own.residual, mask = {};  // it has passed the mask
  const int64_t channels = x.size(1);
  const Tensor grad_x =
      ops::batch_norm_backward_input(grad, x, mask, weight, mean, invstd, views::narrow(all, 0, 0, channels),
                                     views::narrow(all, 0, channels, channels), bw.saved(5));
  return {grad_x, bw.needs(kSyncWeight) ? own.weight : Tensor(), bw.needs(kSyncBias) ? own.bias : Tensor(),
          own.residual};
}

}  // namespace

Tensor sync_batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                       const Tensor& running_var, ProcessGroup& group, const BatchNormOptions& options,
                       const Tensor& residual, const BatchMoments& moments) {
  if (group.size() == 1)
    return batch_norm(x, weight, bias, running_mean, running_var, true, options, residual, moments);
  if (const Autocast cast{"batch_norm", {x, residual}}) {
    return sync_batch_norm(cast(x), weight, bias, running_mean, running_var, group, options, cast(residual),
                           moments);
  }
  Tape tape("sync_batch_norm", {x, weight, bias, residual},
            {{"ranks", group.size()},
             {"momentum", options.momentum},
             {"eps", options.eps},
             {"relu", options.relu},
             {"running_mean", running_mean},
             {"running_var", running_var}});
  tape.first_order_only();
  const BatchMoments all = gather_moments(x, moments, group);
  const ops::BatchNormOutput out = ops::batch_norm_training(x, weight, bias, running_mean, running_var,
                                                            options, residual, tape.recording(), all);
  return tape.record(
      out.y, {x, out.relu_mask, weight, out.save_mean, out.save_invstd, all.count},
      [options, &group](const Backward& bw) -> Grads { return sync_gradients(bw, options, group); });
}

}  // namespace taper
