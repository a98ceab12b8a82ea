#pragma once
// evaluate(): the score of a model on the batches of a loader.

#include <functional>
#include <optional>

#include "taper/nn/data/loader.h"
#include "taper/nn/module.h"
#include "taper/nn/optim/ema.h"
#include "taper/nn/train/batch_splitter.h"
#include "taper/nn/train/predictions.h"
#include "taper/nn/train/training_run.h"
#include "taper/ops/collective/process_group.h"

namespace taper {

struct EvaluateOptions {
  Ema* ema = nullptr;                  ///< the model has its averages meanwhile
  TrainingRun* run = nullptr;          ///< hears of the progress, and may be interrupted
  std::optional<DType> autocast = {};  ///< f16 or bf16: the model and the loss run under autocast
  BatchSplitter* splitter = nullptr;   ///< splits batches that do not fit in memory; null: they throw
  ProcessGroup* group =
      nullptr;  ///< ranks that evaluate together, each its part of the batches; all get the score
  Predictions* predictions = nullptr;  ///< keeps what the model says of each image
};

/// Runs `forward`, from images to logits, over all batches of epoch 0 in evaluation mode and in the model's
/// inference form, unseen by the tape. Returns the score, or nothing if the run was interrupted. Leaves
/// `model` in evaluation mode. Throws Error if no image can be read.
std::optional<Score> evaluate(Module& model, const std::function<Tensor(const Tensor&)>& forward,
                              DataLoader& batches, const EvaluateOptions& options = {});

/// As above with forward = model.
template <class Model>
std::optional<Score> evaluate(Model& model, DataLoader& batches, const EvaluateOptions& options = {}) {
  return evaluate(
      model, [&model](const Tensor& images) { return model(images); }, batches, options);
}

}  // namespace taper
