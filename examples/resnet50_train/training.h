#pragma once
// The training of resnet50_train: what moves the weights, what is saved of it, and the loop over it.

#include <memory>
#include <optional>

#include "options.h"
#include "setup.h"
#include "taper/nn/amp/grad_scaler.h"
#include "taper/nn/optim/ema.h"
#include "taper/nn/optim/optimizer.h"
#include "taper/nn/optim/schedule.h"
#include "taper/nn/parallel/distributed_data_parallel.h"
#include "taper/nn/train/batch_splitter.h"
#include "taper/nn/train/early_stop.h"
#include "taper/nn/train/run_checkpoints.h"
#include "taper/nn/train/train_loop.h"
#include "taper/nn/train/training_state.h"

namespace taper {

class Training {
 public:
  /// Moves the model to its device, makes what trains it, and restores the checkpoint that the run goes on from.
  /// group: the ranks that train together; null for one process.
  Training(const TrainOptions& options, Setup& setup, TrainingRun& run, ProcessGroup* group);

  /// Prints the header and trains.
  void train();

 private:
  void gather_state();
  void go_on();
  void join_ranks();
  TrainStep make_step();
  std::optional<Score> score();

  const TrainOptions& options_;
  Setup& setup_;
  TrainingRun& run_;
  ProcessGroup* group_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Ema> ema_;  ///< null without --ema
  std::shared_ptr<LrScheduler> schedule_;
  GradScaler scaler_;
  std::optional<EarlyStop> early_stop_;
  std::optional<BatchSplitter> splitter_, evaluation_splitter_;
  TrainingState state_;
  TrainProgress start_;
  std::optional<RunCheckpoints> checkpoints_;
  std::optional<DistributedDataParallel> parallel_;
};

/// Returns what tells the run's sinks of a batch that was split.
BatchSplitter::Listener tell_of_splits(TrainingRun& run);

}  // namespace taper
