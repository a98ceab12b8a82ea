#pragma once
// How resnet50_train moves the weights: optimiser, average and schedule.

#include <memory>

#include "options.h"
#include "taper/nn/models/resnet.h"
#include "taper/nn/optim/ema.h"
#include "taper/nn/optim/optimizer.h"
#include "taper/nn/optim/schedule.h"
#include "taper/nn/train/train_loop.h"

namespace taper {

/// Returns the peak learning rate: --lr, or the default for the optimiser and the images in a step. Throws
/// Error if --min-lr is not below it.
double peak_lr(const TrainOptions& options, const TrainPlan& plan);

/// Returns the optimiser of the parameters that require gradients, in groups by --head-lr, --layer-decay and
/// --decay-norms.
std::unique_ptr<Optimizer> make_optimizer(const TrainOptions& options, const ResNet& model, double lr);

/// Returns null without --ema.
std::unique_ptr<Ema> make_ema(const TrainOptions& options, const ResNet& model);

/// Returns the schedule after its warm-up. That of a plateau is to be told each epoch's loss.
std::shared_ptr<LrScheduler> make_schedule(const TrainOptions& options, Optimizer& optimizer,
                                           const TrainPlan& plan);

}  // namespace taper
