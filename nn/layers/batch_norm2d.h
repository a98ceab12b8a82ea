#pragma once
// Batch normalisation of images, with the residual add and the ReLU that follow it in a residual network as
// an option: one pass over memory instead of three. PyTorch's counterpart: torch.nn.BatchNorm2d.
//
//   y = bn(x);                                        // by itself
//   y = bn(x, {.residual = shortcut, .relu = true});  // relu(bn(x) + shortcut)

#include "taper/nn/layer.h"
#include "taper/ops/moments/batch_moments.h"

namespace taper {

class ProcessGroup;

/// What BatchNorm2d does to its result before it stores it.
struct BatchNormFusion {
  Tensor residual = {};  ///< added; undefined for nothing
  bool relu = false;     ///< then clamps the result at 0
};

class BatchNorm2d : public Layer {
 public:
  /// weight starts at 1, bias at 0; the running statistics at mean 0, variance 1.
  explicit BatchNorm2d(int64_t channels, double eps = 1e-5, double momentum = 0.1);

  /// x: [N, channels, H, W]. Where it uses the batch's statistics, normalises by them and moves the running ones
  /// towards them; else normalises by the running ones. See ops::batch_norm_training. moments: the moments of x
  /// where they are known.
  Tensor forward(const Tensor& x) override { return forward(x, {}); }
  Tensor forward(const Tensor& x, const BatchNormFusion& fusion, const BatchMoments& moments = {});

  using Layer::operator();
  /// Returns forward(x, fusion), between the hooks, which see the fused result.
  Tensor operator()(const Tensor& x, const BatchNormFusion& fusion);

  /// Keeps the running statistics and normalises by them in training as in evaluation: for fine-tuning. PyTorch's
  /// users call eval() on the layer after each train() of the model; torchvision has FrozenBatchNorm2d.
  void freeze_statistics(bool frozen = true) { frozen_statistics_ = frozen; }
  /// Returns whether forward() uses the batch's statistics: in training, unless they are frozen.
  bool uses_batch_statistics() const { return is_training() && !frozen_statistics_; }

  /// Has forward() take the batch's statistics over all ranks of `group`, which must outlive this layer's use; null:
  /// over this process alone. All ranks then call forward() and backward() together. Nothing changes in evaluation, nor
  /// with frozen statistics. (torch.nn.SyncBatchNorm)
  void synchronise(ProcessGroup* group) { group_ = group; }

  int64_t flops(const Tensor& input, const Tensor& output) const override;

  const double eps;
  const double momentum;       ///< share of the new batch in the running statistics
  Tensor weight;               ///< [channels]; the paper's gamma
  Tensor bias;                 ///< [channels]; beta
  Tensor running_mean;         ///< [channels]
  Tensor running_var;          ///< [channels]; unbiased
  Tensor num_batches_tracked;  ///< i64; training batches seen

 private:
  bool frozen_statistics_ = false;
  ProcessGroup* group_ = nullptr;
};

}  // namespace taper
