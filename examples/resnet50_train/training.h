#pragma once
// One training run: data, model, optimiser and the loop over them.

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "options.h"
#include "taper/core/error.h"
#include "taper/nn/data/device_loader.h"
#include "taper/nn/data/loader.h"
#include "taper/nn/models/resnet.h"
#include "taper/nn/optim/ema.h"
#include "taper/nn/optim/optimizer.h"
#include "taper/nn/optim/schedule.h"
#include "taper/nn/report/progress.h"
#include "taper/nn/report/step_log.h"
#include "taper/nn/report/step_profile.h"

namespace taper {

/// A file or folder named on the command line cannot be used: exit code 2.
class BadInput : public Error {
 public:
  using Error::Error;
};

class Training {
 public:
  /// Reads data and weights and builds everything. Throws BadInput before anything is written.
  explicit Training(const TrainOptions& options);

  /// Trains (or only evaluates), prints a line per epoch, writes the log and the summary. Stops early and
  /// cleanly once `interrupted()` is true.
  void run(const std::function<bool()>& interrupted);

 private:
  struct Score {
    double top1 = 0, top5 = 0, loss = 0;
  };
  /// A step that has been enqueued. On a GPU it is logged once the next one is enqueued, so that the GPU
  /// always has work and the host waits for nothing but the number it shows.
  struct StepInFlight {
    int64_t step = 0, epoch = 0, images = 0;
    double lr = 0;
    std::vector<Tensor> losses;
    std::optional<gpu::Event> losses_arrived;  ///< on a GPU
  };

  void load_data();
  void build_model();
  void build_optimizer();
  void print_header() const;
  void run_to_end(const std::function<bool()>& interrupted);
  /// Trains on the batches of one epoch. Returns the mean loss.
  double train_epoch(int64_t epoch, const std::function<bool()>& interrupted);
  /// Enqueues one optimiser step over `accumulate` batches. Returns the loss of each, on the CPU, from a GPU
  /// still on its way.
  std::vector<Tensor> train_step(const std::vector<Batch>& batches);
  /// Waits for the oldest step's loss, then logs and shows the step. Returns the loss.
  double finish_step();
  /// The validation set's score with the averaged weights if there are any; nothing if interrupted or no set.
  std::optional<Score> evaluate(const std::function<bool()>& interrupted);
  void write_summary(double seconds, bool was_interrupted) const;
  void write_reports();
  /// The unreadable pictures met so far, a line each.
  std::vector<std::string> broken_pictures() const;
  /// Says on stderr which pictures were unreadable, if there are more than it said before.
  void report_broken();
  /// What --benchmark measured and what it left out, as one line.
  void report_benchmark() const;

  TrainOptions options_;
  int64_t num_classes_ = 0;
  std::unique_ptr<DataLoader> train_;
  std::unique_ptr<DataLoader> validation_;
  std::optional<DeviceLoader> train_batches_;
  std::optional<DeviceLoader> validation_batches_;
  std::unique_ptr<ResNet> model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::shared_ptr<LrScheduler> schedule_;
  std::unique_ptr<Ema> ema_;
  ProgressLine progress_;
  std::unique_ptr<StepLog> log_;
  std::unique_ptr<StepProfile> profile_;

  int64_t steps_per_epoch_ = 0;
  int64_t total_steps_ = 0;
  int64_t step_ = 0;  ///< steps enqueued
  std::deque<StepInFlight> in_flight_;
  std::chrono::steady_clock::time_point last_finish_;
  double last_loss_ = 0;
  std::vector<double> images_per_second_;
  std::optional<Score> score_;
  std::vector<std::string> notes_;  ///< lines of the header about the data
  size_t broken_told_ = 0;          ///< unreadable pictures that report_broken() has told of
};

}  // namespace taper
