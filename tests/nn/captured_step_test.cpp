// Steps as graphs: the bits of steps without, whatever a step is made of, and what becomes of those that cannot be captured.

#include "taper/nn/train/captured_step.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/autograd/tape/checkpoint.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/core/generator.h"
#include "taper/core/gpu/memory/caching_allocator.h"
#if TAPER_SIMULATED_GPU
#include "taper/core/gpu/sim.h"
#endif
#include "taper/nn/amp/grad_scaler.h"
#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/conv2d.h"
#include "taper/nn/layers/dropout.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/train/train_step.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/random/random.h"
#include "test_tensors.h"

using namespace taper;
using Catch::Contains;

namespace {

struct Net : Module {
  Conv2d& conv = register_module<Conv2d>("conv", 3, 8, 3, Conv2dOptions{.stride = 2}, kNoBias);
  BatchNorm2d& norm = register_module<BatchNorm2d>("norm", 8);
  Dropout& dropout = register_module<Dropout>("dropout", 0.3);
  Linear& output = register_module<Linear>("output", 8 * 3 * 3, 10);

  Tensor operator()(const Tensor& x) {
    const Tensor features = norm(conv(x), {.relu = true}).flatten(1);
    return checkpoints ? checkpoint([this](const Tensor& in) { return output(dropout(in)); }, features)
                       : output(dropout(features));
  }
  bool checkpoints = false;
};

/// What a run is made of.
struct Plan {
  bool capture = false;
  std::optional<DType> autocast = {};
  bool scales = false, clips = false, averages = false, smooths = false, adam = false, checkpoints = false;
  int accumulate = 1;
  int steps = 12;
  std::vector<int64_t> sizes = {6};  ///< images of a batch, one step after the other
};

Batch batch_of(int64_t images, uint64_t seed) {
  Generator own(seed);
  Batch batch;
  batch.images =
      ops::to_device(ops::contiguous(ops::randn({images, 3, 8, 8}, {}, own), kChannelsLast), kCUDA);
  batch.labels = ops::to_device(ops::randint(0, 10, {images}, {.dtype = kInt64}, own), kCUDA);
  return batch;
}

void append(std::vector<double>& all, const Tensor& x) {
  const auto some = ops::to_vector<double>(x);
  all.insert(all.end(), some.begin(), some.end());
}

struct Trained {
  std::vector<double>
      numbers;  ///< losses, rates, scales, gradients, weights, averages, the generator's counter
  int64_t replays = 0;
  size_t graphs = 0;
  std::string refusal;
};

Trained train(const Plan& plan) {
  manual_seed(5);
  Net net;
  net.to(kCUDA);
  net.checkpoints = plan.checkpoints;
  std::unique_ptr<Optimizer> optimizer;
  if (plan.adam)
    optimizer = std::make_unique<AdamW>(net.named_parameters(), AdamWOptions{.lr = 0.01});
  else
    optimizer = std::make_unique<SGD>(net.named_parameters(), SgdOptions{.lr = 0.1, .momentum = 0.9});
  CosineAnnealingLr schedule(*optimizer, 10);
  Ema ema(net.named_parameters(), 0.9);
  GradScaler scaler({.init_scale = 1024, .growth_interval = 3, .enabled = plan.scales});
  // On the GPU, so that a graph reads it anew: what the loss is multiplied by.
  const Tensor factor = ops::ones({}, {.device = kCUDA});
  const LossFunction loss = [&](const Batch& batch) {
    return cross_entropy(net(batch.images), batch.target(), {.label_smoothing = plan.smooths ? 0.1 : 0}) *
           factor;
  };
  TrainStep step(loss, *optimizer,
                 {.autocast = plan.autocast,
                  .clip_grad = plan.clips ? 0.5 : 0,
                  .ema = plan.averages ? &ema : nullptr,
                  .schedule = &schedule,
                  .scaler = &scaler,
                  .capture = plan.capture});
  Trained result;
  for (int i = 0; i < plan.steps; ++i) {
    if (plan.scales) ops::fill_(factor, i % 5 == 3 ? INFINITY : 1);
    std::vector<Batch> batches;
    for (int k = 0; k < plan.accumulate; ++k)
      batches.push_back(batch_of(plan.sizes[size_t(i) % plan.sizes.size()], uint64_t(100 * i + k)));
    const EnqueuedStep done = step(batches);
    result.numbers.push_back(done.loss());
    result.numbers.push_back(done.lr());
    result.numbers.push_back(done.scale().value_or(0));
    result.numbers.push_back(done.skipped());
    for (const Tensor& parameter : net.parameters()) append(result.numbers, parameter.grad());
    if (i == 7 && plan.averages) {
      // An evaluation in between: other weights, and with autocast other copies of them.
      const EmaScope averaged(ema);
      const NoGradGuard no_grad;
      std::optional<AutocastGuard> autocast;
      if (plan.autocast) autocast.emplace(DeviceType::kCUDA, *plan.autocast);
      net.eval();
      append(result.numbers, ops::cast(net(batches[0].images), kFloat64));
      net.train();
    }
  }
  for (const auto& [name, x] : net.named_parameters()) append(result.numbers, x.detach());
  for (const auto& [name, x] : net.named_buffers()) append(result.numbers, x);
  for (const auto& [name, x] : ema.state_dict().tensors) append(result.numbers, x);
  for (const auto& [name, x] : optimizer->state_dict().tensors) append(result.numbers, x);
  result.numbers.push_back(double(default_generator().state().counter));
  result.numbers.push_back(double(schedule.steps()));
  if (const CapturedStep* const captured = step.captured()) {
    result.replays = captured->replays();
    result.graphs = captured->graph_count();
    result.refusal = captured->refusal();
  }
  return result;
}

/// NaN is like NaN.
void check_equal(const std::vector<double>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    const double a = actual[i], e = expected[i];
    if (a == e || (std::isnan(a) && std::isnan(e))) continue;
    FAIL("number " << i << " of " << actual.size() << ": " << a << " instead of " << e);
  }
}

/// Trains with and without graphs, on a simulated GPU in some orders of the streams, and compares.
void check_alike(Plan plan, int64_t replays, size_t graphs, [[maybe_unused]] uint64_t orders = 3) {
  const Trained expected = train(plan);
  plan.capture = true;
#if TAPER_SIMULATED_GPU
  for (uint64_t seed = 0; seed < orders; ++seed) {
    gpu::sim::set_schedule_seed(seed);
#else
  for (uint64_t seed = 0; seed < 2; ++seed) {
#endif
    INFO("seed " << seed);
    const Trained actual = train(plan);
    CHECK(actual.refusal.empty());
    CHECK(actual.replays == replays);
    CHECK(actual.graphs == graphs);
    check_equal(actual.numbers, expected.numbers);
  }
#if TAPER_SIMULATED_GPU
  gpu::sim::reset();
#endif
}

bool has_gpu() {
  return gpu::device_count() > 0;
}

}  // namespace

TEST_CASE("a captured step has the bits of one that is not, whatever it is made of") {
  if (!has_gpu()) return;
  check_alike({}, 10, 1, 30);
  check_alike({.adam = true}, 10, 1);
  check_alike({.autocast = kBFloat16, .clips = true, .averages = true, .smooths = true}, 10, 1);
  check_alike({.scales = true, .clips = true, .averages = true}, 10, 1);
  check_alike({.autocast = kFloat16, .scales = true, .averages = true, .adam = true, .steps = 20}, 18, 1);
  check_alike({.scales = true, .smooths = true, .accumulate = 3}, 10, 1);
  check_alike({.autocast = kBFloat16, .checkpoints = true}, 10, 1);
}

TEST_CASE("fifty steps of everything together have the same bits, replayed or not") {
  if (!has_gpu()) return;
  check_alike({.autocast = kFloat16,
               .scales = true,
               .clips = true,
               .averages = true,
               .smooths = true,
               .accumulate = 2,
               .steps = 50,
               .sizes = {6, 6, 4}},
              46, 2);
}

TEST_CASE("300 orders of the streams give a captured step the same bits") {
  if (!has_gpu()) return;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr uint64_t kOrders = 15;
#else
  constexpr uint64_t kOrders = 300;
#endif
  check_alike({.autocast = kFloat16, .scales = true, .averages = true, .steps = 6}, 4, 1, kOrders);
}

TEST_CASE("inputs of other shapes have graphs of their own, and the oldest goes") {
  if (!has_gpu()) return;
  check_alike({.steps = 18, .sizes = {6, 2, 4}}, 12, 3);
  // Six sizes, and room for four graphs: each comes back when its graph is gone.
  Plan plan = {.steps = 24, .sizes = {2, 3, 4, 5, 6, 7}};
  const Trained expected = train(plan);
  plan.capture = true;
  const Trained actual = train(plan);
  check_equal(actual.numbers, expected.numbers);
  CHECK(actual.replays == 0);
}

TEST_CASE("a step that asks the GPU for a number runs as it is, and the op is named") {
  if (!has_gpu()) return;
  manual_seed(5);
  Linear net(6, 3), same(6, 3);
  for (Linear* const one : {&net, &same}) one->to(kCUDA);
  ops::copy_(same.weight, net.weight);
  ops::copy_(same.bias, net.bias);
  const auto step_of = [](Linear& model, Optimizer& optimizer, double& told) {
    return [&](const std::vector<Tensor>& in) -> std::vector<Tensor> {
      optimizer.zero_grad();
      const Tensor y = model(in[0]), loss = (y * y).sum();
      loss.backward();
      told = loss.item();
      optimizer.step();
      return {loss.detach()};
    };
  };
  SGD optimizer(net.named_parameters(), {.lr = 0.01, .momentum = 0.9}),
      same_optimizer(same.named_parameters(), {.lr = 0.01, .momentum = 0.9});
  double told = 0, same_told = 0;
  const auto plain = step_of(same, same_optimizer, same_told);
  CapturedStep captured(step_of(net, optimizer, told), optimizer.parameters());
  for (int i = 0; i < 6; ++i) {
    const Tensor x = ops::to_device(random_tensor({4, 6}, kFloat32, uint64_t(i)), kCUDA);
    const Tensor loss = captured({x})[0], expected = plain({x})[0];
    CHECK(ops::item(loss) == ops::item(expected));
    CHECK(told == same_told);
    CHECK(captured.refusal().empty() == (i < 2));
  }
  CHECK_THAT(captured.refusal(),
             Catch::StartsWith("item: the host cannot read a number that a graph computes"));
  CHECK(captured.replays() == 0);
  CHECK(captured.graph_count() == 0);
}

TEST_CASE("a replay counts as a write to the parameters, whose copies in other dtypes are then made anew") {
  if (!has_gpu()) return;
  manual_seed(5);
  Linear net(6, 3);
  net.to(kCUDA);
  SGD optimizer(net.named_parameters(), {.lr = 0.1});
  CapturedStep captured(
      [&](const std::vector<Tensor>& in) -> std::vector<Tensor> {
        const AutocastGuard autocast(DeviceType::kCUDA, kBFloat16);
        optimizer.zero_grad();
        net(in[0]).sum().backward();
        optimizer.step();
        return {};
      },
      optimizer.parameters());
  const Tensor x = ops::to_device(random_tensor({4, 6}, kFloat32), kCUDA);
  const auto evaluate = [&](DType dtype) {
    const NoGradGuard no_grad;
    const AutocastGuard autocast(DeviceType::kCUDA, dtype);
    return ops::to_vector<double>(net(x));
  };
  std::vector<double> before;
  for (int i = 0; i < 6; ++i) {
    const uint32_t version = net.weight.version();
    captured({x});
    CHECK(net.weight.version() > version);
    for (const DType dtype : {kBFloat16, kFloat16}) {
      const std::vector<double> now = evaluate(dtype);
      const NoGradGuard no_grad;
      const Tensor plain = linear(x, net.weight.detach(), net.bias.detach());
      const auto expected = ops::to_vector<double>(plain);
      for (size_t k = 0; k < now.size(); ++k) CHECK(std::fabs(now[k] - expected[k]) < 0.05);
    }
  }
  CHECK(captured.replays() == 4);
}

TEST_CASE("what a graph cannot hold is named") {
  if (!has_gpu()) return;
  const Tensor parameter = ops::to_device(random_tensor({5}, kFloat32, 1), kCUDA).set_requires_grad();
  const auto refusal = [&](const CapturedStep::Step& step) {
    CapturedStep captured(step, {parameter}, 1);
    for (int i = 0; i < 3; ++i) captured({});
    CHECK(captured.replays() == 0);
    return captured.refusal();
  };
  CHECK_THAT(refusal([&](const auto&) -> std::vector<Tensor> { return {ops::rand({3})}; }),
             Catch::StartsWith("uniform_: random numbers are drawn on the CPU"));
  CHECK_THAT(
      refusal([&](const auto&) -> std::vector<Tensor> { return {ops::to_device(ops::ones({3}), kCUDA)}; }),
      Contains("a copy between host and GPU"));
  CHECK_THAT(refusal([&](const auto&) -> std::vector<Tensor> {
               gpu::synchronize();
               return {};
             }),
             Contains("synchronize: a stream of cuda:0 is capturing a graph"));
  std::vector<Generator> generators(5);
  CHECK_THAT(refusal([&](const auto&) -> std::vector<Tensor> {
               for (Generator& one : generators) ops::rand({3}, {.device = kCUDA}, one);
               return {};
             }),
             Contains("at most 4 generators"));
  int calls = 0;
  SGD optimizer({parameter}, {.lr = 0.1, .momentum = 0.9});
  CHECK_THAT(refusal([&](const auto&) -> std::vector<Tensor> {
               parameter.set_grad(ops::ones_like(parameter));
               if (++calls == 2) optimizer.step();
               return {};
             }),
             Contains("the first update of a parameter cannot be captured"));
  // An error that is none of a capture passes, and leaves the gradient as it was.
  CapturedStep captured(
      [&](const auto&) -> std::vector<Tensor> {
        parameter.set_grad({});
        if (++calls == 6) fail("out of luck");
        return {};
      },
      {parameter}, 1);
  calls = 4;
  captured({});
  const Tensor grad = ops::ones_like(parameter);
  parameter.set_grad(grad);
  CHECK_THROWS_WITH(captured({}), "out of luck");
  CHECK(parameter.grad().is_same(grad));
  CHECK(!gpu::is_capturing(gpu::current_stream()));
  captured({});
  CHECK(captured.replays() == 1);
}

TEST_CASE("a momentum that a schedule moves is no matter for a graph") {
  if (!has_gpu()) return;
  manual_seed(5);
  Linear net(3 * 8 * 8, 10);
  net.to(kCUDA);
  SGD optimizer(net.named_parameters(), {.lr = 0.1, .momentum = 0.9});
  OneCycleLr schedule(optimizer, {.max_lr = {0.1}, .total_steps = 10});
  TrainStep step(
      [&](const Batch& batch) { return cross_entropy(net(batch.images.flatten(1)), batch.labels); },
      optimizer, {.schedule = &schedule, .capture = true});
  for (int i = 0; i < 5; ++i) step({batch_of(4, uint64_t(i))});
  CHECK(step.captured()->replays() == 0);
  CHECK_THAT(step.captured()->refusal(), Contains("momentum moves"));
}

TEST_CASE("memory that runs out at any allocation leaves steps as they would be") {
  if (!has_gpu()) return;
  const Plan plan = {.autocast = kFloat16, .scales = true, .averages = true, .steps = 5};
  const Trained expected = train(plan);
  Plan captured = plan;
  captured.capture = true;
  manual_seed(5);
  int refused = 0, complete = 0;
  for (int request = 1; complete == 0; ++request) {
    gpu::caching_allocator(0).empty_cache();
    INFO("request " << request);
    // Of a training that fails in its third step, the capture; those of the two before it end the run.
    gpu::caching_allocator(0).fail_request(request);
    try {
      const Trained actual = train(captured);
      check_equal(actual.numbers, expected.numbers);
      if (actual.replays == 0)
        ++refused;
      else
        ++complete;
    } catch (const OutOfMemoryError&) {
    }
  }
  gpu::caching_allocator(0).fail_request(0);
  CHECK(refused > 0);
}

TEST_CASE("a captured step gives all its memory back when it goes") {
  if (!has_gpu()) return;
  gpu::CachingAllocator& allocator = gpu::caching_allocator(0);
  const auto held = [&] {
    gpu::synchronize();
    allocator.empty_cache();
    return std::pair(allocator.stats().allocated_bytes, allocator.stats().reserved_bytes);
  };
  train({.steps = 4});
  const auto before = held();
  for (int i = 0; i < 3; ++i) CHECK(train({.capture = true, .steps = 6, .sizes = {4, 6}}).replays == 2);
  CHECK(held() == before);
}

#if TAPER_SIMULATED_GPU
TEST_CASE("the host waits for nothing in captured steps") {
  if (!has_gpu()) return;
  manual_seed(5);
  Net net;
  net.to(kCUDA);
  SGD optimizer(net.named_parameters(), {.lr = 0.1, .momentum = 0.9});
  CosineAnnealingLr schedule(optimizer, 10);
  GradScaler scaler;
  TrainStep step([&](const Batch& batch) { return cross_entropy(net(batch.images), batch.labels); },
                 optimizer, {.schedule = &schedule, .scaler = &scaler, .capture = true});
  std::vector<Batch> batches;
  for (int i = 0; i < 8; ++i) batches.push_back(batch_of(4, uint64_t(i)));
  std::vector<EnqueuedStep> steps;
  for (int i = 0; i < 4; ++i) steps.push_back(step({batches[size_t(i)]}));
  const uint64_t waits = gpu::sim::host_waits();
  for (int i = 4; i < 8; ++i) {
    steps.push_back(step({batches[size_t(i)]}));
    steps[size_t(i) - 2].loss();  // which the schedule has waited for
  }
  CHECK(step.captured()->replays() == 6);
  CHECK(step.captured()->node_count() > 20);
  CHECK(gpu::sim::host_waits() <= waits + 2 * 4);
}
#endif
