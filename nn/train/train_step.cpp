#include "taper/nn/train/train_step.h"  // spine 64 (docs/0-the-spine.md)

#include "taper/autograd/tape/engine.h"
#include "taper/nn/optim/clip.h"

namespace taper {

double EnqueuedStep::loss() const {
  if (arrived) arrived->synchronize();
  double mean = 0;
  for (const Tensor& loss : losses) mean += loss.item() / double(losses.size());
  return mean;
}

EnqueuedStep TrainStep::operator()(const std::vector<Batch>& batches) {
  TAPER_CHECK(!batches.empty(), "TrainStep: needs at least one batch");
  EnqueuedStep step{.lr = optimizer_.lr(), .losses = {}};
  optimizer_.zero_grad();
  Device device;
  for (const Batch& batch : batches) {
    const Tensor loss = loss_(batch);
    (batches.size() > 1 ? loss / double(batches.size()) : loss).backward();
    device = loss.device();
    step.losses.push_back(loss.detach().to(kCPU, true));
  }
  if (options_.clip_grad > 0) clip_grad_norm(optimizer_.parameters(), options_.clip_grad);
  optimizer_.step();
  if (options_.ema) options_.ema->update();
  if (options_.schedule) options_.schedule->step();
  if (device.is_cuda()) step.arrived.emplace().record(gpu::current_stream(device.index));
  return step;
}

}  // namespace taper
