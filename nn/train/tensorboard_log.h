#pragma once
// TensorBoardLog: a training run for TensorBoard to show. PyTorch's users write the calls of its SummaryWriter
// (torch.utils.tensorboard) into their loops.
//
// Each step adds its loss, learning rates, speed, memory and the GPU's sensors: about 300 bytes. Each epoch adds
// scores, a sheet of sample images with predictions, the confusion matrix, and histograms of parameters and
// gradients. For these, all parameters and gradients are copied to the CPU and counted, 3 ns a value: 0.2 s for
// ResNet-50. The first step adds the graph.

#include <memory>
#include <optional>
#include <string>

#include "taper/autograd/tape/op_trace.h"
#include "taper/nn/module.h"
#include "taper/nn/report/tensorboard/event_writer.h"
#include "taper/nn/report/tensorboard/hparams.h"
#include "taper/nn/train/predictions.h"
#include "taper/nn/train/sink.h"

namespace taper {

/// What a log shows besides the numbers of steps and epochs. What is null is left out; the rest must outlive
/// the log.
struct TensorBoardLogOptions {
  NamedSettings settings = {};               ///< options of the run, for the table of runs
  const Module* model = nullptr;             ///< for histograms and the graph
  const DataLoader* validation = nullptr;    ///< for sample images and class names
  const Predictions* predictions = nullptr;  ///< of the last evaluation on `validation`
};

class TensorBoardLog : public TrainSink {
 public:
  /// Makes an event file of its own in `folder`. Throws FileError.
  explicit TensorBoardLog(const std::string& folder, TensorBoardLogOptions options = {});

  // These throw FileError if the disk is full.

  /// Before the first step of the run, says with which step it begins, so that a resumed run takes the place of
  /// steps that it does again.
  void on_step_begin(int64_t step) override;
  void on_step_enqueued(int64_t step) override;
  void on_step_end(const StepRecord& record) override;
  void on_epoch_end(const EpochRecord& record) override;
  void on_run_end(const Outcome& outcome) override;

 private:
  void add_histograms(EventSummary& summary) const;
  void add_predictions(EventSummary& summary) const;

  EventWriter writer_;
  TensorBoardLogOptions options_;
  bool has_begun_ = false;
  int64_t last_step_ = 0;         ///< whose loss is known
  std::optional<OpTrace> trace_;  ///< of the first step, while it is enqueued
};

}  // namespace taper
