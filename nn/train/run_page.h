#pragma once
// RunPage: a training run as a page to look at and to send around: curves, the confusion matrix, the worst
// mistakes as pictures, speed, memory and sensors, options and versions. One HTML file that needs no network.

#include <string>
#include <utility>
#include <vector>

#include "taper/nn/report/tensorboard/hparams.h"
#include "taper/nn/train/predictions.h"
#include "taper/nn/train/run_history.h"
#include "taper/nn/train/sink.h"
#include "taper/nn/train/train_loop.h"

namespace taper {

/// What a page shows besides the numbers of steps and epochs. What is null is left out; the rest must outlive
/// the page.
struct RunPageOptions {
  std::string title = "Training run";
  NamedSettings settings = {};
  std::vector<std::pair<std::string, std::string>> versions = {};  ///< of libraries and devices
  TrainPlan plan = {};
  const DataLoader* validation = nullptr;    ///< for images and class names
  const Predictions* predictions = nullptr;  ///< of the last evaluation on `validation`
};

class RunPage : public TrainSink {
 public:
  /// Shows `history`, which must outlive the page and hear of each event before it. Throws FileError if `path` cannot be
  /// written.
  RunPage(std::string path, const RunHistory& history, RunPageOptions options);

  /// Writes the page as the run stands, in one step: whoever looks sees it whole. Throws FileError.
  void on_epoch_end(const EpochRecord& record) override;
  /// Writes the page of the ended run, unless there was no step. Throws FileError.
  void on_run_end(const Outcome& outcome) override;

 private:
  void write(const std::string& state, const std::vector<std::string>& errors) const;

  std::string path_;
  const RunHistory& history_;
  RunPageOptions options_;
};

}  // namespace taper
