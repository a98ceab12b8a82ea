#pragma once  // spine 63 (docs/0-the-spine.md)
// TrainStep: one step of an optimiser, over one batch or over several whose gradients are averaged.
//
//   TrainStep step(classification_loss(model), optimizer, {.clip_grad = 1, .schedule = &schedule});
//   loader.start(epoch);
//   while (const auto batch = loader.next()) fmt::print("{}\n", step({*batch}).loss());

#include <functional>
#include <optional>
#include <vector>

#include "taper/autograd/functions.h"
#include "taper/core/gpu/runtime.h"
#include "taper/nn/data/loader.h"
#include "taper/nn/optim/ema.h"
#include "taper/nn/optim/schedule.h"

namespace taper {

/// Returns the mean loss of a batch, a scalar that backward() can be called on.
using LossFunction = std::function<Tensor(const Batch&)>;

/// The cross entropy of model(images) with the labels. `model` must outlive what is returned.
template <class Model>
LossFunction classification_loss(Model& model, double label_smoothing = 0) {
  return [&model, label_smoothing](const Batch& batch) {
    return cross_entropy(model(batch.images), batch.labels, {.label_smoothing = label_smoothing});
  };
}

/// A step whose work is enqueued. On a GPU its losses may still be on their way to the host.
struct EnqueuedStep {
  double lr = 0;                           ///< of the optimiser's first group, that the step was made with
  std::vector<Tensor> losses;              ///< one a batch, on the CPU
  std::optional<gpu::Event> arrived = {};  ///< on a GPU: the losses may be read after it

  /// Waits for the losses. Returns their mean.
  double loss() const;
};

struct TrainStepOptions {
  double clip_grad = 0;             ///< largest norm of all gradients together; 0: no limit
  Ema* ema = nullptr;               ///< updated after the optimiser
  LrScheduler* schedule = nullptr;  ///< moved on after the optimiser
};

class TrainStep {
 public:
  /// `optimizer` and what the options point to must outlive the step.
  TrainStep(LossFunction loss, Optimizer& optimizer, TrainStepOptions options = {})
      : loss_(std::move(loss)), optimizer_(optimizer), options_(options) {}

  /// Clears the gradients, adds those of the mean of the batches' losses, and updates the parameters. On a
  /// GPU, only enqueues. Throws Error for no batches.
  EnqueuedStep operator()(const std::vector<Batch>& batches);

 private:
  LossFunction loss_;
  Optimizer& optimizer_;
  TrainStepOptions options_;
};

}  // namespace taper
