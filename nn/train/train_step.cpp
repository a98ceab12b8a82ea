#include "taper/nn/train/train_step.h"  // spine 64 (docs/0-the-spine.md)

#include "taper/autograd/tape/autocast.h"
#include "taper/autograd/tape/engine.h"
#include "taper/nn/amp/grad_scaler.h"
#include "taper/nn/optim/clip.h"
#include "taper/nn/parallel/distributed_data_parallel.h"
#include "taper/nn/train/batch_splitter.h"
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

Tensor TrainStep::loss_of(const Batch& batch) const {
  std::optional<AutocastGuard> autocast;
  if (options_.autocast) autocast.emplace(batch.images.device().type, *options_.autocast);
  return loss_(batch);
}

EnqueuedStep TrainStep::add_gradients(const std::vector<BatchPart>& parts, GradScaler& scaler) const {
  EnqueuedStep step;
  optimizer_.zero_grad();
  for (const auto& [batch, divisor] : parts) {
    std::optional<DistributedDataParallel::NoSync> alone;
    if (options_.parallel && &batch != &parts.back().batch) alone.emplace(*options_.parallel);
    const Tensor loss = loss_of(batch);
    scaler.scale(divisor == 1 ? loss : loss / divisor).backward();
    step.losses.push_back(fetch(loss.detach()));
    step.divisors.push_back(divisor);
  }
  return step;
}

EnqueuedStep TrainStep::operator()(const std::vector<Batch>& batches) {
  TAPER_CHECK(!batches.empty(), "TrainStep: needs at least one batch");
  GradScaler none({.enabled = false});
  GradScaler& scaler = options_.scaler ? *options_.scaler : none;
  EnqueuedStep step;
  const auto attempt = [&](const std::vector<BatchPart>& parts) { step = add_gradients(parts, scaler); };
  if (options_.splitter) {
    options_.splitter->run(batches, attempt, [&] { optimizer_.zero_grad(); });
  } else {
    attempt(whole_batches(batches));
  }
  scaler.unscale(optimizer_);
  if (options_.clip_grad > 0) clip_grad_norm(optimizer_, options_.clip_grad);
  scaler.step(optimizer_);
  for (size_t group = 0; group < optimizer_.group_count(); ++group) {
    const Tensor& lr = optimizer_.lr_on_device(group);
    step.group_lrs.push_back(lr.defined() ? fetch(lr) : lr);
  }
  const Tensor found_inf = scaler.found_inf(optimizer_);
  if (found_inf.defined()) {
    step.loss_scale = fetch(scaler.scale_on_device());
    step.found_inf = fetch(found_inf);
  }
  if (options_.ema) options_.ema->update(found_inf);
  if (options_.schedule) options_.schedule->step(found_inf);
  scaler.update();
  const Device device = batches.front().images.device();
  if (device.is_cuda()) step.arrived.emplace().record(gpu::current_stream(device.index));
  return step;
}

}  // namespace taper
