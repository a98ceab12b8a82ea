// Training steps in every order that the streams allow, and without a wait of the host.

#include <catch2/catch.hpp>

#include "taper/autograd/functions.h"
#include "taper/core/generator.h"
#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/core/gpu/sim.h"
#include "taper/nn/amp/grad_scaler.h"
#include "taper/nn/data/digits.h"
#include "taper/nn/data/digits_dataset.h"
#include "taper/nn/data/loader.h"
#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/conv2d.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/train/train_step.h"
#include "taper/ops/copy/copy.h"

using namespace taper;

namespace {

/// Trains two steps of a network of a few kernels, with the forward's second half on its own stream. Returns
/// all that training changed, and the losses.
std::vector<float> train(DataLoader& batches, gpu::Stream side) {
  manual_seed(5);
  Conv2d conv(3, 4, 3, {.stride = 2}, kNoBias);
  BatchNorm2d norm(4);
  Linear output(4 * 3 * 3, 10);
  NamedTensors parameters;
  for (Module* part : std::initializer_list<Module*>{&conv, &norm, &output}) {
    part->to(Device("cuda"));
    for (const auto& [name, tensor] : part->named_parameters()) {
      parameters.emplace_back(part->type_name() + "." + name, tensor);
    }
  }
  SGD optimizer(parameters, {.lr = 0.1, .momentum = 0.9});
  batches.start(0);
  std::vector<Tensor> results;
  for (int step = 0; step < 2; ++step) {
    const std::optional<Batch> batch = batches.next();
    optimizer.zero_grad();
    const Tensor features = norm(conv(batch->images), {.relu = true});
    const gpu::Stream home = gpu::current_stream();
    gpu::Event ready, done;
    ready.record(home);
    side.wait(ready);
    gpu::record_stream(*features.storage(), side);
    Tensor loss;
    {
      const gpu::StreamGuard guard(side);
      loss = cross_entropy(output(features.flatten(1)), batch->labels);
      done.record(side);
    }
    home.wait(done);
    gpu::record_stream(*loss.storage(), home);
    loss.backward();
    optimizer.step();
    results.push_back(loss.detach().clone());
  }
  for (const auto& [name, tensor] : parameters) results.push_back(tensor.detach());
  std::vector<float> values;
  for (const Tensor& result : results) {
    const auto some = ops::to_vector<float>(result);
    values.insert(values.end(), some.begin(), some.end());
  }
  return values;
}

}  // namespace

TEST_CASE("a thousand orders of the streams give the same bits") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr uint64_t kOrders = 50;
#else
  constexpr uint64_t kOrders = 1000;
#endif
  DataLoader source(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain), evaluation_transform(8, 8),
                    {.batch_size = 4, .device = Device("cuda")});
  const gpu::Stream side = gpu::stream_from_pool();
  const std::vector<float> expected = train(source, side);
  REQUIRE(std::isfinite(expected[0]));
  for (uint64_t seed = 1; seed <= kOrders; ++seed) {
    gpu::sim::set_schedule_seed(seed);
    INFO("seed " << seed);
    REQUIRE(train(source, side) == expected);
  }
  gpu::sim::reset();
}

TEST_CASE("the host waits for nothing in a scaled step, though updates are skipped") {
  manual_seed(5);
  Linear model(3 * 8 * 8, 10);
  model.to(Device("cuda"));
  SGD optimizer(model.named_parameters(), {.lr = 0.1, .momentum = 0.9});
  CosineAnnealingLr schedule(optimizer, 10);
  Ema ema(model.named_parameters(), 0.9);
  GradScaler scaler;
  bool overflow = false;
  const LossFunction loss = [&](const Batch& batch) {
    return cross_entropy(model(batch.images.flatten(1)), batch.labels) * (overflow ? INFINITY : 1);
  };
  TrainStep step(loss, optimizer, {.clip_grad = 1, .ema = &ema, .schedule = &schedule, .scaler = &scaler});
  DataLoader source(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain), evaluation_transform(8, 8),
                    {.batch_size = 4, .device = Device("cuda")});
  source.start(0);
  std::vector<Batch> batches;
  for (int i = 0; i < 8; ++i) batches.push_back(*source.next());
  EnqueuedStep before = step({batches[0]});
  for (size_t i = 1; i < batches.size(); ++i) {
    INFO("step " << i);
    overflow = i % 3 != 0;
    const uint64_t waits = gpu::sim::host_waits();
    EnqueuedStep now = step({batches[i]});
    CHECK(gpu::sim::host_waits() == waits);
    CHECK(before.skipped() == (i > 1 && (i - 1) % 3 != 0));
    CHECK(gpu::sim::host_waits() == waits + 1);
    before = std::move(now);
  }
  CHECK(schedule.steps() == 3);
  CHECK(ema.updates() == 3);
}
