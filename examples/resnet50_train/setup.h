#pragma once
// What resnet50_train makes of its command line before it trains: data, model and plan.

#include <memory>
#include <optional>
#include <string>

#include "data.h"
#include "examples/command_line.h"
#include "options.h"
#include "taper/nn/checkpoint/checkpoint_writer.h"
#include "taper/nn/models/resnet.h"
#include "taper/nn/train/predictions.h"
#include "taper/nn/train/run_history.h"
#include "taper/nn/train/run_page.h"
#include "taper/nn/train/train_loop.h"

namespace taper {

struct Setup {
  /// Sets threads, seed and choice of algorithms, reads data and weights, and looks at all files that are to
  /// be written. Throws BadInput if one of these cannot be used, with all files as they were: makes the folder
  /// of checkpoints and empties the log last.
  explicit Setup(const TrainOptions& options);

  Data data;
  std::unique_ptr<ResNet> model;
  std::string
      not_finite;  ///< the first tensor of --init or --pretrained that has NaN or infinity; "" if none has
  TrainPlan plan;  ///< of no steps with --eval-only
  double lr = 0;   ///< peak: --lr, or the default for the optimiser and the images in a step
  std::optional<FoundCheckpoint> start;           ///< to go on from; nothing for a new run
  std::unique_ptr<CheckpointWriter> checkpoints;  ///< null without --checkpoint-dir
  std::shared_ptr<TrainSink> log, profile;        ///< null if not asked for
  std::unique_ptr<Predictions> predictions;       ///< on the validation set; null if nobody shows them
  std::shared_ptr<RunHistory> history;            ///< the run's curves; null with --eval-only
  std::shared_ptr<RunPage> page;                  ///< --report; null if not asked for
  std::shared_ptr<TrainSink> tensorboard;         ///< null if not asked for

 private:
  void prepare(const TrainOptions& options);
  void open_checkpoints(const TrainOptions& options);
  std::shared_ptr<TrainSink> open_log(const TrainOptions& options);
};

}  // namespace taper
