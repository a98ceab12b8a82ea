#pragma once  // spine 63 (docs/0-the-spine.md)
// TrainStep: one step of an optimiser, over one batch or over several whose gradients are averaged.
//
//   TrainStep step(classification_loss(model), optimizer, {.clip_grad = 1, .schedule = &schedule});
//   loader.start(epoch);
//   while (const auto batch = loader.next()) fmt::print("{}\n", step({*batch}).loss());

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "taper/autograd/functions.h"
#include "taper/core/gpu/runtime.h"
#include "taper/nn/data/loader.h"
#include "taper/nn/optim/ema.h"
#include "taper/nn/optim/schedule.h"

namespace taper {

class BatchSplitter;
class CapturedStep;
class DistributedDataParallel;
class GradScaler;

/// Returns the mean loss of a batch, a scalar that backward() can be called on.
using LossFunction = std::function<Tensor(const Batch&)>;

/// The cross entropy of model(images) with the labels, or with the class probabilities of mixed images. `model` must outlive what is returned.
template <class Model>
LossFunction classification_loss(Model& model, double label_smoothing = 0) {
  return [&model, label_smoothing](const Batch& batch) {
    return cross_entropy(model(batch.images), batch.target(), {.label_smoothing = label_smoothing});
  };
}

/// A step whose work is enqueued. On a GPU its numbers may still be on their way to the host.
struct EnqueuedStep {
  std::vector<Tensor> losses;         ///< one a batch or part of it, on the CPU, as are the others
  std::vector<double> divisors = {};  ///< the mean loss is the sum of the losses, each divided by its own
  std::vector<Tensor> group_lrs;      ///< learning rates of the optimiser's groups
  Tensor loss_scale = {};             ///< undefined without a GradScaler
  Tensor found_inf = {};              ///< not 0 if the update is skipped; undefined without a GradScaler
  std::optional<gpu::Event> arrived = {};  ///< on a GPU: the tensors may be read after it

  // These wait for the numbers.

  /// Returns the mean loss of the batches.
  double loss() const;
  /// Returns the learning rate of the optimiser's first group that the step was made with.
  double lr() const { return lrs().at(0); }
  /// Returns the learning rates of all groups; 0 for a group that was never updated.
  std::vector<double> lrs() const;
  /// Returns what a GradScaler multiplied the losses by; nothing without one.
  std::optional<double> scale() const;
  /// Returns whether gradients were infinite or NaN, so that nothing was updated.
  bool skipped() const;

 private:
  void wait() const {
    if (arrived) arrived->synchronize();
  }
};

struct TrainStepOptions {
  std::optional<DType> autocast = {};  ///< f16 or bf16: the loss is computed under autocast
  double clip_grad = 0;                ///< largest norm of all gradients together; 0: no limit
  Ema* ema = nullptr;                  ///< updated after the optimiser
  LrScheduler* schedule = nullptr;     ///< moved on after the optimiser
  GradScaler* scaler = nullptr;        ///< scales the losses; what it skips, average and schedule skip, too
  DistributedDataParallel* parallel =
      nullptr;                        ///< shares gradients among ranks once a step; null: there are none
  BatchSplitter* splitter = nullptr;  ///< splits batches that do not fit in memory; null: they throw
  /// On a GPU, the work of steps after the first ones is replayed as one graph (captured_step.h). The loss function then
  /// sees batches without numbers of step, epoch and images. Not together with a splitter.
  bool capture = false;
};

class TrainStep {
 public:
  /// `optimizer` and what the options point to must outlive the step. Throws Error for options that exclude each other.
  TrainStep(LossFunction loss, Optimizer& optimizer, const TrainStepOptions& options = {});

  /// Clears the gradients, adds those of the mean of the batches' losses, and updates the parameters. On a
  /// GPU, only enqueues. Throws Error for no batches, OutOfMemoryError if memory runs out.
  EnqueuedStep operator()(const std::vector<Batch>& batches);

  /// Returns the graphs of the steps; null without TrainStepOptions::capture.
  const CapturedStep* captured() const;

 private:
  class Work;
  class Graphs;
  std::shared_ptr<Work> work_;
  std::shared_ptr<Graphs> graphs_;  ///< null without capture
};

}  // namespace taper
