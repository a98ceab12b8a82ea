#include "taper/nn/train/train_step.h"  // spine 64 (docs/0-the-spine.md)

#include "taper/autograd/tape/autocast.h"
#include "taper/autograd/tape/engine.h"
#include "taper/nn/amp/grad_scaler.h"
#include "taper/nn/optim/clip.h"
#include "taper/nn/parallel/distributed_data_parallel.h"
#include "taper/nn/train/batch_splitter.h"
#include "taper/nn/train/captured_step.h"
#include "taper/ops/copy/copy.h"

namespace taper {
namespace {

/// Returns a copy on the CPU. A GPU makes it when it gets there.
Tensor fetch(const Tensor& x) {
  return x.device().is_cpu() ? ops::clone(x) : ops::to_device(x, kCPU, true);
}

}  // namespace

double EnqueuedStep::loss() const {
  wait();
  double mean = 0;
  for (size_t i = 0; i < losses.size(); ++i) mean += losses[i].item() / divisors[i];
  return mean;
}

std::vector<double> EnqueuedStep::lrs() const {
  wait();
  std::vector<double> rates;
  for (const Tensor& lr : group_lrs) rates.push_back(lr.defined() ? lr.item() : 0);
  return rates;
}

std::optional<double> EnqueuedStep::scale() const {
  wait();
  return loss_scale.defined() ? std::optional(loss_scale.item()) : std::nullopt;
}

bool EnqueuedStep::skipped() const {
  wait();
  return found_inf.defined() && found_inf.item() != 0;
}

/// What a step does on the device, so that a graph can hold it.
class TrainStep::Work {
 public:
  Work(LossFunction loss, Optimizer& optimizer, const TrainStepOptions& options)
      : loss_(std::move(loss)), optimizer_(optimizer), options_(options) {}

  /// What becomes of it, on the device.
  struct Result {
    std::vector<Tensor> losses;    ///< one a batch or part of it
    Tensor loss_scale, found_inf;  ///< undefined without a GradScaler
    std::vector<double> divisors = {};
  };

  /// Clears the gradients, adds those of the mean of the batches' losses, and updates the parameters.
  Result operator()(const std::vector<Batch>& batches) {
    Result result;
    const auto attempt = [&](const std::vector<BatchPart>& parts) { result = add_gradients(parts); };
    if (options_.splitter) {
      options_.splitter->run(batches, attempt, [&] { optimizer_.zero_grad(); });
    } else {
      attempt(whole_batches(batches));
    }
    try {
      scaler().unscale(optimizer_);
      if (options_.clip_grad > 0) clip_grad_norm(optimizer_, options_.clip_grad);
      scaler().step(optimizer_);
      result.found_inf = scaler().found_inf(optimizer_);
      if (result.found_inf.defined()) result.loss_scale = ops::clone(scaler().scale_on_device());
      if (options_.ema) options_.ema->update(result.found_inf);
      scaler().update();
    } catch (...) {
      scaler().abandon_update();
      throw;
    }
    return result;
  }

  const TrainStepOptions& options() const { return options_; }
  Optimizer& optimizer() { return optimizer_; }

 private:
  GradScaler& scaler() { return options_.scaler ? *options_.scaler : no_scaler_; }

  Tensor loss_of(const Batch& batch) const {
    std::optional<AutocastGuard> autocast;
    if (options_.autocast) autocast.emplace(batch.images.device().type, *options_.autocast);
    return loss_(batch);
  }

  /// Clears the gradients and adds those of the parts.
  Result add_gradients(const std::vector<BatchPart>& parts) {
    Result result;
    optimizer_.zero_grad();
    for (const auto& [batch, divisor] : parts) {
      std::optional<DistributedDataParallel::NoSync> alone;
      if (options_.parallel && &batch != &parts.back().batch) alone.emplace(*options_.parallel);
      const Tensor loss = loss_of(batch);
      scaler().scale(divisor == 1 ? loss : loss / divisor).backward();
      result.losses.push_back(loss.detach());
      result.divisors.push_back(divisor);
    }
    return result;
  }

  LossFunction loss_;
  Optimizer& optimizer_;
  TrainStepOptions options_;
  GradScaler no_scaler_{{.enabled = false}};
};

namespace {

/// The tensors of batches, for a graph that has them at other addresses.
std::vector<Tensor> tensors_of(const std::vector<Batch>& batches) {
  std::vector<Tensor> all;
  for (const Batch& batch : batches)
    for (const Tensor& x : {batch.images, batch.labels, batch.probabilities, batch.erased})
      if (x.defined()) all.push_back(x);
  return all;
}

/// Returns batches with these tensors, which are as many as tensors_of(like).
std::vector<Batch> with_tensors(const std::vector<Batch>& like, const std::vector<Tensor>& tensors) {
  std::vector<Batch> batches;
  auto next = tensors.begin();
  const auto take = [&](const Tensor& x) { return x.defined() ? *next++ : x; };
  for (const Batch& batch : like) {
    Batch& made = batches.emplace_back();
    made.images = take(batch.images);
    made.labels = take(batch.labels);
    made.probabilities = take(batch.probabilities);
    made.erased = take(batch.erased);
  }
  return batches;
}

}  // namespace

/// Replays the work of a step.
class TrainStep::Graphs {
 public:
  explicit Graphs(std::shared_ptr<Work> work)
      : work_(std::move(work)),
        step_([this](const std::vector<Tensor>& in) { return run(in); }, work_->optimizer().parameters()) {}

  Work::Result operator()(const std::vector<Batch>& batches) {
    work_->optimizer().publish_lr();
    give_up_if_momentum_moves();
    like_ = &batches;
    std::vector<Tensor> numbers = step_(tensors_of(batches));
    Work::Result result;
    if (numbers.size() > batches.size()) {
      // The schedule remembers it for longer than until the next replay.
      result.found_inf = ops::clone(numbers.back());
      numbers.pop_back();
      result.loss_scale = std::move(numbers.back());
      numbers.pop_back();
    }
    result.losses = std::move(numbers);
    result.divisors.assign(batches.size(), double(batches.size()));
    return result;
  }

  const CapturedStep& step() const { return step_; }

 private:
  std::vector<Tensor> run(const std::vector<Tensor>& inputs) {
    Work::Result result = (*work_)(with_tensors(*like_, inputs));
    std::vector<Tensor> numbers = std::move(result.losses);
    if (result.found_inf.defined()) {
      numbers.push_back(result.loss_scale);
      numbers.push_back(result.found_inf);
    }
    return numbers;
  }

  /// Updates get momentum from the host, so a graph would keep the one of its capture.
  void give_up_if_momentum_moves() {
    std::vector<double> now;
    for (size_t group = 0; group < work_->optimizer().group_count(); ++group)
      now.push_back(work_->optimizer().momentum(group));
    if (!momentum_.empty() && momentum_ != now)
      step_.give_up("the optimiser's momentum moves from step to step, and a graph keeps one");
    momentum_ = std::move(now);
  }

  std::shared_ptr<Work> work_;
  CapturedStep step_;
  const std::vector<Batch>* like_ = nullptr;  ///< of the call under way
  std::vector<double> momentum_;              ///< in the last call
};

TrainStep::TrainStep(LossFunction loss, Optimizer& optimizer, const TrainStepOptions& options)
    : work_(std::make_shared<Work>(std::move(loss), optimizer, options)) {
  if (!options.capture) return;
  TAPER_CHECK(options.splitter == nullptr, "TrainStep: capture excludes a splitter, which repeats a step");
  graphs_ = std::make_shared<Graphs>(work_);
}

const CapturedStep* TrainStep::captured() const {
  return graphs_ ? &graphs_->step() : nullptr;
}

EnqueuedStep TrainStep::operator()(const std::vector<Batch>& batches) {
  TAPER_CHECK(!batches.empty(), "TrainStep: needs at least one batch");
  const Work::Result result = graphs_ ? (*graphs_)(batches) : (*work_)(batches);
  Optimizer& optimizer = work_->optimizer();
  EnqueuedStep step;
  for (const Tensor& loss : result.losses) step.losses.push_back(fetch(loss));
  step.divisors = result.divisors;
  for (size_t group = 0; group < optimizer.group_count(); ++group) {
    const Tensor& lr = optimizer.lr_on_device(group);
    step.group_lrs.push_back(lr.defined() ? fetch(lr) : lr);
  }
  if (result.found_inf.defined()) {
    step.loss_scale = fetch(result.loss_scale);
    step.found_inf = fetch(result.found_inf);
  }
  if (LrScheduler* const schedule = work_->options().schedule) schedule->step(result.found_inf);
  const Device device = batches.front().images.device();
  if (device.is_cuda()) step.arrived.emplace().record(gpu::current_stream(device.index));
  return step;
}

}  // namespace taper
