#include "optimisation.h"

#include <algorithm>
#include <cmath>

#include "taper/nn/optim/adam.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/lamb.h"
#include "taper/nn/optim/lars.h"
#include "taper/nn/optim/parameter_groups.h"
#include "taper/nn/optim/plateau.h"
#include "taper/nn/optim/sgd.h"

namespace taper {
namespace {

/// MLPerf's reference for ResNet-50 has 5 and more: poly_rate_fn in
/// image_classification/tensorflow/official/resnet/resnet_run_loop.py. For batches smaller than it knows, the
/// root of their size: on the digits in batches of 32, 2 learns faster than 0.6 or 6.
double default_lars_lr(double images) {
  if (images >= 32768) return 32;
  if (images >= 16384) return 25;
  if (images >= 8192) return 10;
  return 5 * std::min(1.0, std::sqrt(images / 256));
}

double default_lr(const std::string& optimizer, double images) {
  if (optimizer == "sgd") return 0.1 * images / 256;  // Goyal et al. 2017, https://arxiv.org/abs/1706.02677
  // The LAMB paper's for ResNet-50 on ImageNet: from 0.005 at 512 images to 0.04 at 32768.
  if (optimizer == "lamb") return 0.005 * std::sqrt(std::max(images, 512.0) / 512);
  if (optimizer == "lars") return default_lars_lr(images);
  return 1e-3;
}

/// Returns the schedule of `steps` steps that follow a warm-up of `warmup` steps.
std::shared_ptr<LrScheduler> after_warmup(const TrainOptions& options, Optimizer& optimizer,
                                          const TrainPlan& plan, int64_t warmup, int64_t steps) {
  const double min_lr = options.min_lr.value_or(0);
  if (options.schedule == "cosine") return std::make_shared<CosineAnnealingLr>(optimizer, steps, min_lr);
  if (options.schedule == "polynomial")
    return std::make_shared<PolynomialLr>(optimizer, steps, options.lr_power.value_or(1), min_lr);
  if (options.schedule == "exponential") {
    const double gamma = options.lr_gamma ? std::pow(*options.lr_gamma, 1 / double(plan.steps_per_epoch))
                                          : std::pow(0.01, 1 / double(steps));
    return std::make_shared<ExponentialLr>(optimizer, gamma);
  }
  if (options.schedule == "plateau")
    return std::make_shared<ReduceLrOnPlateau>(
        optimizer, ReduceLrOnPlateauOptions{.factor = options.lr_gamma.value_or(0.1),
                                            .patience = options.patience.value_or(5),
                                            .min_lr = min_lr});
  std::vector<int64_t> milestones;  // none: constant
  for (const int64_t epoch : options.milestones) milestones.push_back(epoch * plan.steps_per_epoch - warmup);
  if (options.schedule == "step" && milestones.empty()) milestones = {(steps + 2) / 3, (2 * steps + 2) / 3};
  return std::make_shared<MultiStepLr>(optimizer, milestones, options.lr_gamma.value_or(0.1));
}

}  // namespace

double peak_lr(const TrainOptions& options, const TrainPlan& plan) {
  const double lr = options.lr.value_or(default_lr(options.optimizer, double(plan.images_per_step)));
  TAPER_CHECK(options.min_lr.value_or(0) < lr || options.eval_only,
              "--min-lr {} is not below the peak learning rate, {}", *options.min_lr, lr);
  return lr;
}

std::unique_ptr<Optimizer> make_optimizer(const TrainOptions& options, const ResNet& model, double lr) {
  const auto groups = group_parameters(model.named_parameters(), {.lr = lr,
                                                                  .weight_decay = *options.weight_decay,
                                                                  .decay_norms = *options.decay_norms,
                                                                  .layer_of = resnet_layer_of,
                                                                  .head_lr = options.head_lr,
                                                                  .layer_decay = options.layer_decay});
  const double momentum = options.momentum.value_or(0.9);
  if (options.optimizer == "sgd")
    return std::make_unique<SGD>(
        with_options(groups, SgdOptions{.momentum = momentum, .nesterov = options.nesterov}));
  if (options.optimizer == "lars")
    return std::make_unique<Lars>(
        with_options(groups, LarsOptions{.momentum = momentum, .nesterov = options.nesterov}));
  if (options.optimizer == "lamb") return std::make_unique<Lamb>(with_options(groups, LambOptions()));
  if (options.optimizer == "adam") return std::make_unique<Adam>(with_options(groups, AdamOptions()));
  return std::make_unique<AdamW>(with_options(groups, AdamWOptions()));
}

std::unique_ptr<Ema> make_ema(const TrainOptions& options, const ResNet& model) {
  if (options.ema == 0) return nullptr;
  // The running statistics belong to the averaged weights as much as the weights do.
  NamedTensors state = model.named_parameters();
  for (const auto& buffer : model.named_buffers()) state.push_back(buffer);
  return std::make_unique<Ema>(state, options.ema);
}

std::shared_ptr<LrScheduler> make_schedule(const TrainOptions& options, Optimizer& optimizer,
                                           const TrainPlan& plan) {
  const auto warmup = std::min(int64_t(std::llround(options.warmup_epochs * double(plan.steps_per_epoch))),
                               plan.total_steps - 1);
  return with_warmup(optimizer, warmup,
                     after_warmup(options, optimizer, plan, warmup, plan.total_steps - warmup));
}

}  // namespace taper
