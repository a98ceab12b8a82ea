#pragma once
// One training run: data, model, optimiser and the loop over them.

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "options.h"
#include "taper/core/base/error.h"
#include "taper/core/gpu/runtime.h"
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

enum class Ending : uint8_t {
  kFinished,
  kInterrupted,
  kNotFinite,  ///< a loss was NaN or infinite
  kOutOfMemory,
  kFailed,
};

/// What became of a run.
struct Outcome {
  Ending ending = Ending::kFinished;
  /// What went wrong, a line each: files that could not be written, and why the run ended.
  std::vector<std::string> errors;
};

class Training {
 public:
  /// Reads data and weights and looks at all files that are to be written. Throws BadInput if one of these
  /// cannot be used, with all files as they were. Empties the log last.
  explicit Training(const TrainOptions& options);

  /// Trains (or only evaluates), prints a line per epoch, writes the log and, however the run ends, the
  /// reports and the summary. Stops early and cleanly once `interrupted()` is true. A file that cannot be
  /// written ends nothing.
  const Outcome& run(const std::function<bool()>& interrupted);

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

  /// Throws Error if a file cannot be written, or is named twice.
  void check_outputs() const;
  void load_data();
  void build_model();
  /// What needs the device: moves the model there and builds the optimiser.
  void prepare();
  void build_optimizer();
  void print_header() const;
  void train(const std::function<bool()>& interrupted);
  /// Trains on the batches of one epoch. Returns the mean loss.
  double train_epoch(int64_t epoch, const std::function<bool()>& interrupted);
  /// Enqueues one optimiser step over `accumulate` batches. Returns the loss of each, on the CPU, from a GPU
  /// still on its way.
  std::vector<Tensor> train_step(const std::vector<Batch>& batches);
  /// Waits for the oldest step's loss, then logs and shows the step. Returns the loss.
  double finish_step();
  /// The validation set's score with the averaged weights if there are any; nothing if interrupted or no set.
  std::optional<Score> evaluate(const std::function<bool()>& interrupted);
  /// Throws NotFiniteError, with what to do about it, if the loss `when`, as "in step 3", is none.
  void check_finite(const char* what, double loss, const std::string& when) const;

  // results.cpp: what stays of a run.
  /// Remembers that the run ended before its time, and why.
  void end_early(Ending ending, const std::string& why);
  /// Runs write(). If that fails, remembers why and returns false.
  bool could(const std::function<void()>& write);
  /// The unreadable pictures met so far, a line each.
  std::vector<std::string> broken_pictures() const;
  /// Says on stderr which pictures were unreadable, if there are more than it said before.
  void report_broken();
  /// Says at once that the last file could not be written.
  void report_unwritten();
  /// Prints and writes what is known at the end. The summary comes last: it names the files that failed.
  void write_results();
  void write_summary(double seconds) const;
  /// The median over the steps after the first ones, which fill caches.
  double images_per_second() const;

  TrainOptions options_;
  Outcome outcome_;
  int64_t num_classes_ = 0;
  std::unique_ptr<DataLoader> train_;
  std::unique_ptr<DataLoader> validation_;
  std::unique_ptr<ResNet> model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::shared_ptr<LrScheduler> schedule_;
  std::unique_ptr<Ema> ema_;
  ProgressLine progress_;
  std::unique_ptr<StepLog> log_;
  std::unique_ptr<StepProfile> profile_;
  std::string not_finite_;  ///< the name of the first --init tensor with NaN or infinity in it

  std::chrono::steady_clock::time_point start_;
  int64_t steps_per_epoch_ = 0;
  int64_t total_steps_ = 0;
  int64_t images_per_step_ = 0;
  int64_t step_ = 0;  ///< steps enqueued
  std::deque<StepInFlight> in_flight_;
  std::chrono::steady_clock::time_point last_finish_;
  std::optional<double> last_loss_;
  std::vector<double> speeds_;  // images per second
  std::optional<Score> score_;
  std::vector<std::string> notes_;  ///< lines of the header about the data
  size_t broken_told_ = 0;          ///< unreadable pictures that report_broken() has told of
};

}  // namespace taper
