#pragma once
// What resnet50_train makes of its command line before it trains: data, model, optimiser and schedule.

#include <memory>
#include <string>
#include <vector>

#include "options.h"
#include "taper/core/base/error.h"
#include "taper/nn/data/loader.h"
#include "taper/nn/models/resnet.h"
#include "taper/nn/optim/ema.h"
#include "taper/nn/optim/optimizer.h"
#include "taper/nn/optim/schedule.h"
#include "taper/nn/train/train_loop.h"

namespace taper {

/// A file or folder named on the command line cannot be used: exit code 2.
class BadInput : public Error {
 public:
  using Error::Error;
};

struct Data {
  std::unique_ptr<DataLoader> train;       ///< null with --eval-only
  std::unique_ptr<DataLoader> validation;  ///< null if there is no validation set
  int64_t num_classes = 0;                 ///< of the network
  std::vector<std::string> notes = {};     ///< lines for the header

  /// Returns a line for each image that could not be read so far.
  std::vector<std::string> unreadable() const;
};

struct Setup {
  /// Sets threads, seed and choice of algorithms, reads data and weights, and looks at all files that are to
  /// be written. Throws BadInput if one of these cannot be used, with all files as they were: empties the log
  /// last.
  explicit Setup(const TrainOptions& options);

  Data data;
  std::unique_ptr<ResNet> model;
  std::string not_finite;  ///< the first tensor of --init that holds NaN or infinity; "" if there is none
  TrainPlan plan;          ///< of no steps with --eval-only
  double lr = 0;           ///< peak: --lr, or the default for the optimiser and the images in a step
  std::shared_ptr<TrainSink> log, profile;  ///< null if not asked for
};

std::unique_ptr<Optimizer> make_optimizer(const TrainOptions& options, const ResNet& model, double lr);

/// Returns null without --ema.
std::unique_ptr<Ema> make_ema(const TrainOptions& options, const ResNet& model);

std::shared_ptr<LrScheduler> make_schedule(const TrainOptions& options, Optimizer& optimizer,
                                           const TrainPlan& plan);

}  // namespace taper
