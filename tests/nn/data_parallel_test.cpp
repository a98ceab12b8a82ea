// Several ranks against one process with the whole batch.

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/checkpoint.h"
#include "taper/autograd/tape/engine.h"
#include "taper/core/gpu/runtime.h"
#include "taper/nn/amp/grad_scaler.h"
#include "taper/nn/data/digits_dataset.h"
#include "taper/nn/data/loader.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/layers/relu.h"
#include "taper/nn/layers/sequential.h"
#include "taper/nn/optim/clip.h"
#include "taper/nn/optim/ema.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/parallel/distributed_data_parallel.h"
#include "taper/nn/train/train_loop.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "tests/support/ranks.h"
#if TAPER_SIMULATED_GPU
#include "taper/core/gpu/sim.h"
#endif

using namespace taper;

namespace {

constexpr int64_t kImages = 24, kFeatures = 7, kClasses = 5;

struct Net : Module {
  Linear& first = register_module<Linear>("first", kFeatures, 11);
  Linear& second = register_module<Linear>("second", 11, 6);
  Linear& third = register_module<Linear>("third", 6, kClasses);
  Tensor operator()(const Tensor& x) { return third(relu(second(relu(first(x))))); }
};

/// Numbers that depend on `seed` and their place alone.
Tensor numbers(const Shape& shape, int seed, Device device) {
  Tensor x = ops::arange(0, taper::numel(shape), 1, {.dtype = kFloat64}).reshape(shape);
  x = sin(x * 12.9898 + double(seed) * 78.233) * 0.5;
  return x.to(device);
}

void fill(Net& net, int seed) {
  for (const Tensor& x : net.parameters()) ops::copy_(x, numbers(x.shape(), ++seed, x.device()));
}

struct Settings {
  Device device = kCPU;
  int64_t accumulate = 1;
  double clip = 0;
  bool scale = false;          ///< a GradScaler, and in step 2 an infinity in the images of the last rank
  bool average = false;        ///< train with an Ema and return its weights
  int64_t bucket_bytes = 200;  ///< several buckets
};

constexpr int kSteps = 6;
constexpr double kNotFinite = -1;  ///< in place of a loss, which is never below 0

/// Trains with this rank's part of every batch; with all of it if there is no group. Returns losses and weights.
std::vector<double> train(ProcessGroup* group, const Settings& how) {
  const int rank = group ? group->rank() : 0, ranks = group ? group->size() : 1;
  Net net;
  net.to(kFloat64);
  net.to(how.device);
  fill(net, group ? 100 * rank : 0);  // other ranks begin with other weights
  std::optional<DistributedDataParallel> parallel;
  if (group)
    parallel.emplace(
        net, *group,
        DataParallelOptions{.bucket_bytes = how.bucket_bytes, .first_bucket_bytes = how.bucket_bytes / 2});
  SGD optimizer(net.named_parameters(), {.lr = 0.1, .momentum = 0.9});
  Ema ema(net.named_parameters(), 0.9);
  GradScaler scaler({.init_scale = 1024, .growth_interval = 2, .enabled = how.scale});
  std::vector<double> result;
  for (int step = 0; step < kSteps; ++step) {
    optimizer.zero_grad();
    double mean = 0;
    for (int64_t part = 0; part < how.accumulate; ++part) {
      const Tensor images = numbers({kImages, kFeatures}, 1000 + step * 10 + int(part), how.device);
      if (how.scale && step == 2) images[kImages - 1] = INFINITY;
      std::vector<int64_t> classes;
      for (int64_t i = 0; i < kImages; ++i) classes.push_back(i * i % kClasses);
      const Tensor labels = from_vector(classes).to(how.device);
      const int64_t begin = kImages * rank / ranks, end = kImages * (rank + 1) / ranks;
      const Tensor loss = cross_entropy(net(images.slice(0, begin, end)), labels.slice(0, begin, end)) /
                          double(how.accumulate);
      std::optional<DistributedDataParallel::NoSync> alone;
      if (parallel && part + 1 < how.accumulate) alone.emplace(*parallel);
      scaler.scale(loss).backward();
      mean += loss.item();
    }
    scaler.unscale(optimizer);
    if (how.clip > 0) clip_grad_norm(optimizer.parameters(), how.clip);
    scaler.step(optimizer);
    if (how.average) ema.update(scaler.found_inf(optimizer));
    scaler.update();
    const Tensor all = ops::full({1}, mean, {.dtype = kFloat64});
    if (group) group->all_reduce(all, ReduceOp::kMean).wait();
    result.push_back(std::isfinite(ops::item(all)) ? ops::item(all) : kNotFinite);
  }
  std::optional<EmaScope> averaged;
  if (how.average) averaged.emplace(ema);
  result.push_back(scaler.get_scale());
  for (const Tensor& x : net.parameters()) {
    const std::vector<double> values = ops::to_vector<double>(x);
    result.insert(result.end(), values.begin(), values.end());
  }
  return result;
}

/// Returns what each rank's train() returned.
std::vector<std::vector<double>> train_in_ranks(int ranks, const Settings& how) {
  std::vector<std::vector<double>> results(static_cast<size_t>(ranks));
  const auto errors = in_ranks(ranks, [&](ProcessGroup& group) {
    Settings own = how;
    if (how.device.is_cuda()) own.device.index = group.rank() % gpu::device_count();
    std::optional<gpu::DeviceGuard> guard;
    if (how.device.is_cuda()) guard.emplace(own.device.index);
    results[size_t(group.rank())] = train(&group, own);
  });
  REQUIRE(errors == std::vector<std::string>(size_t(ranks)));
  return results;
}

void check_like_one_process(int ranks, const Settings& how) {
  const std::vector<double> alone = train(nullptr, how);
  const auto together = train_in_ranks(ranks, how);
  CHECK(train_in_ranks(ranks, how) == together);  // bit for bit
  for (const std::vector<double>& result : together) {
    REQUIRE(result.size() == alone.size());
    CHECK(std::vector(result.begin() + kSteps, result.end()) ==
          std::vector(together[0].begin() + kSteps, together[0].end()));
    double apart = 0;
    for (size_t i = 0; i < alone.size(); ++i) apart = std::max(apart, std::abs(result[i] - alone[i]));
    CHECK(apart <= 1e-12);
  }
}

}  // namespace

TEST_CASE("ranks train as one process with the whole batch does") {
  const int ranks = GENERATE(1, 2, 3, 4);
  CAPTURE(ranks);
  SECTION("plain") {
    check_like_one_process(ranks, {});
  }
  SECTION("one bucket") {
    check_like_one_process(ranks, {.bucket_bytes = 1 << 20});
  }
  SECTION("accumulated") {
    check_like_one_process(ranks, {.accumulate = 3});
  }
  SECTION("clipped by the norm over all ranks") {
    check_like_one_process(ranks, {.clip = 0.05});
  }
  SECTION("an infinity on one rank skips the update on all") {
    check_like_one_process(ranks, {.scale = true});
  }
  SECTION("averaged") {
    check_like_one_process(ranks, {.average = true});
  }
}

#if TAPER_SIMULATED_GPU
TEST_CASE("simulated GPUs train as one process does, in any order of their streams") {
  const int ranks = GENERATE(2, 4);
  gpu::sim::set_device_count(ranks);
  const std::vector<double> alone = train(nullptr, {});
  for (uint64_t seed = 0; seed < 8; ++seed) {
    CAPTURE(ranks, seed);
    gpu::sim::set_schedule_seed(seed);
    for (const std::vector<double>& result : train_in_ranks(ranks, {.device = kCUDA})) {
      double apart = 0;
      for (size_t i = 0; i < alone.size(); ++i) apart = std::max(apart, std::abs(result[i] - alone[i]));
      CHECK(apart <= 1e-12);
    }
  }
  gpu::sim::reset();
}
#endif

TEST_CASE("buckets learn the order of the gradients and travel before the last gradient is there") {
  const auto errors = in_ranks(2, [](ProcessGroup& group) {
    Net net;
    const int64_t before_hooks = group.rank();
    bool overlapped = false, is_first = true;
    int64_t done_before = 0;
    // Registered first, so it runs before the gradient of the first layer goes anywhere.
    register_post_accumulate_hook(net.first.weight, [&](const Tensor&) {
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(is_first ? 0 : 30);
      while (group.statistics().calls < done_before + 4 && std::chrono::steady_clock::now() < deadline)
        std::this_thread::yield();
      overlapped = group.statistics().calls >= done_before + 4;
    });
    DistributedDataParallel parallel(net, group, {.bucket_bytes = 1, .first_bucket_bytes = 1});
    expect(parallel.buckets().size() == 6 && parallel.buckets()[0][0] == "third.bias",
           "one bucket a parameter");
    for (int step = 0; step < 2; ++step) {
      done_before = group.statistics().calls;
      overlapped = false;
      is_first = step == 0;
      net(ops::full({2, kFeatures}, double(before_hooks))).sum().backward();
      expect(overlapped == (step > 0),
             "four means before the gradient of the first layer, once their order is known");
    }
    expect(parallel.buckets().back()[0].starts_with("first."), "the first layer last");
  });
  CHECK(errors == std::vector<std::string>(2));
}

TEST_CASE("gradients are views of the buckets") {
  const auto errors = in_ranks(2, [](ProcessGroup& group) {
    Net net;
    DistributedDataParallel parallel(net, group);
    net(ops::ones({2, kFeatures})).sum().backward();
    expect(net.first.weight.grad().storage() == net.second.weight.grad().storage(), "one buffer");
    const Tensor once = net.first.weight.grad().clone();
    net(ops::ones({2, kFeatures})).sum().backward();  // without zero_grad()
    expect(ops::to_vector<double>(net.first.weight.grad()) == ops::to_vector<double>(once * 2),
           "twice as much");
  });
  CHECK(errors == std::vector<std::string>(2));
}

TEST_CASE("a group of one copies and sends nothing") {
  const auto groups = make_local_groups(1);
  Net net;
  DistributedDataParallel parallel(net, *groups[0]);
  const int64_t before = groups[0]->statistics().calls;
  for (int step = 0; step < 3; ++step) net(ops::ones({2, kFeatures})).sum().backward();
  CHECK(groups[0]->statistics().calls == before + 1);  // the order of the gradients
  CHECK(net.first.weight.grad().storage() != net.second.weight.grad().storage());
}

namespace {

/// One backward() in each of 3 ranks, with other images in each. Returns each rank's own gradients, all in one list; or
/// those after the mean over ranks, and the bytes that travelled.
struct Gradients {
  std::vector<std::vector<double>> values;
  int64_t bytes = 0;
};
Gradients gradients_of_ranks(bool alone, const DataParallelOptions& options = {}, double scale = 1) {
  Gradients result{.values = std::vector<std::vector<double>>(3)};
  const auto errors = in_ranks(3, [&](ProcessGroup& group) {
    Net net;
    fill(net, 0);
    DistributedDataParallel parallel(net, group, options);
    const Tensor images = numbers({kImages, kFeatures}, group.rank(), kCPU).to(kFloat32);
    const int64_t before = group.statistics().bytes;
    std::optional<DistributedDataParallel::NoSync> no_sync;
    if (alone) no_sync.emplace(parallel);
    (exp(net(images)).sum() * scale).backward();
    if (group.rank() == 0) result.bytes = group.statistics().bytes - before;
    for (const Tensor& x : net.parameters()) {
      expect(x.grad().dtype() == kFloat32, "a gradient in f32");
      const std::vector<double> all = ops::to_vector<double>(x.grad());
      auto& own = result.values[size_t(group.rank())];
      own.insert(own.end(), all.begin(), all.end());
    }
  });
  REQUIRE(errors == std::vector<std::string>(3));
  return result;
}

}  // namespace

TEST_CASE("gradients that travel in 16 bits are half the bytes, and as good as rounded") {
  const DType dtype = GENERATE(kBFloat16, kFloat16);
  const double unit =
      dtype == kBFloat16 ? 0x1p-8 : 0x1p-11;  // rounding to nearest errs by so much of a number
  CAPTURE(dtype);
  // The first backward() also agrees on the order of buckets: 8 bytes a parameter.
  const int64_t order_bytes = 8 * 6;
  const Gradients own = gradients_of_ranks(true), wide = gradients_of_ranks(false);
  const Gradients narrow = gradients_of_ranks(false, {.wire_dtype = dtype});
  CHECK(own.bytes == 0);
  CHECK(narrow.bytes - order_bytes == (wide.bytes - order_bytes) / 2);
  CHECK(narrow.values[1] == narrow.values[0]);  // bit for bit
  CHECK(narrow.values[2] == narrow.values[0]);
  CHECK(narrow.values[0] != wide.values[0]);
  double most = 0;
  for (size_t i = 0; i < wide.values[0].size(); ++i) {
    double sizes = 0;  // what is rounded: each rank's gradient, and their mean
    for (const auto& values : own.values) sizes += std::abs(values[i]) / 3;
    const double apart = std::abs(narrow.values[0][i] - wide.values[0][i]);
    if (sizes > 0.01) most = std::max(most, apart / sizes);
  }
  CHECK(most <= 2.01 * unit);
  CHECK(most > unit / 100);
}

TEST_CASE("16 bits on the wire keep infinities and NaN; what f16 cannot hold becomes one") {
  const Gradients overflown = gradients_of_ranks(false, {.wire_dtype = kBFloat16}, 1e38);
  const Gradients wide = gradients_of_ranks(false, {}, 1e38);
  size_t infinite = 0;
  for (size_t i = 0; i < wide.values[0].size(); ++i) {
    CHECK(std::isfinite(wide.values[0][i]) == std::isfinite(overflown.values[0][i]));
    infinite += !std::isfinite(wide.values[0][i]);
  }
  CHECK(infinite > 0);
  const Gradients large = gradients_of_ranks(false, {.wire_dtype = kFloat16}, 1e6);
  CHECK_FALSE(std::ranges::all_of(large.values[2], [](double x) { return std::isfinite(x); }));
  const auto groups = make_local_groups(1);
  Net net;
  CHECK_THROWS_WITH(DistributedDataParallel(net, *groups[0], {.wire_dtype = kInt32}),
                    Catch::Contains("wire_dtype must be f16 or bf16, got i32"));
}

TEST_CASE("models that differ are refused on all ranks, which name rank and tensor") {
  const auto errors = in_ranks(3, [](ProcessGroup& group) {
    struct Other : Module {
      explicit Other(int64_t outputs) { register_module<Linear>("fc", 4, outputs); }
    };
    Other model(group.rank() == 2 ? 6 : 5);
    const DistributedDataParallel parallel(model, group);
  });
  for (const std::string& error : errors)
    CHECK(error ==
          "DistributedDataParallel: the models differ: rank 2 has fc.weight f32 [6, 4] where rank 0 has "
          "fc.weight f32 "
          "[5, 4]");
}

TEST_CASE("a parameter that the loss does not use is named") {
  const auto groups = make_local_groups(1);
  Net net;
  const DistributedDataParallel parallel(net, *groups[0]);
  CHECK_THROWS_WITH(net.second(net.first(ops::ones({2, kFeatures}))).sum().backward(),
                    Catch::Contains("on rank 0 the loss does not depend on third.weight, third.bias, so"));
  // The next backward() begins anew.
  CHECK_NOTHROW(net(ops::ones({2, kFeatures})).sum().backward());
}

TEST_CASE("a backward() that an exception ends leaves nothing behind") {
  const auto errors = in_ranks(2, [](ProcessGroup& group) {
    Net net;
    DistributedDataParallel parallel(net, group, {.bucket_bytes = 1, .first_bucket_bytes = 1});
    const auto gradient = [&] {
      net.zero_grad();
      net(ops::full({2, kFeatures}, double(group.rank()))).sum().backward();
      return ops::to_vector<double>(net.first.weight.grad());
    };
    const std::vector<double> right = gradient();
    bool fails = true;
    register_hook(net.first.weight, [&](const Tensor& grad) {
      if (std::exchange(fails, false)) fail("planted");
      return grad;
    });
    expect(error_of(gradient) == "planted", "the exception");
    expect(gradient() == right, "the next backward()");
  });
  CHECK(errors == std::vector<std::string>(2));
}

TEST_CASE("a model without anything to train is refused") {
  const auto groups = make_local_groups(1);
  Net net;
  net.set_requires_grad(false);
  CHECK_THROWS_WITH(DistributedDataParallel(net, *groups[0]),
                    Catch::Contains("no parameter of the model requires"));
}

namespace {

/// What rank `group` made of a loop over digits, whose step is `step`.
Outcome loop_over_digits(ProcessGroup& group,
                         const std::function<EnqueuedStep(const std::vector<Batch>&)>& step,
                         const std::function<bool()>& interrupted = {}) {
  DataLoader batches(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTest), evaluation_transform(8, 8),
                     {.batch_size = 60, .shard = {group.rank(), group.size()}, .drop_last = true});
  Net model;
  TrainingRun run(interrupted);
  run.agree(false);
  return run.execute([&] {
    TrainLoop{.plan = TrainPlan(batches, {.epochs = 2}),
              .model = model,
              .batches = batches,
              .step = step,
              .group = &group}
        .train(run);
  });
}

EnqueuedStep step_with_loss(double loss) {
  return {.losses = {ops::full({}, loss, {.dtype = kFloat64})},
          .divisors = {1},
          .group_lrs = {ops::full({}, 0.1, {.dtype = kFloat64})}};
}

}  // namespace

TEST_CASE("a loop's loss is the mean over ranks; one that is NaN on a single rank names it on all") {
  std::vector<Outcome> outcomes(3);
  auto errors = in_ranks(3, [&](ProcessGroup& group) {
    outcomes[size_t(group.rank())] = loop_over_digits(group, [&](const std::vector<Batch>& batches) {
      expect(batches.at(0).size() == 20, "a third of a batch of 60");
      return step_with_loss(group.rank());
    });
  });
  CHECK(errors == std::vector<std::string>(3));
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.ending == Ending::kFinished);
    CHECK(outcome.steps == 12);
    CHECK(outcome.loss == 1);
  }
  errors = in_ranks(3, [&](ProcessGroup& group) {
    int steps = 0;
    outcomes[size_t(group.rank())] = loop_over_digits(group, [&](const std::vector<Batch>&) {
      return step_with_loss(++steps == 5 && group.rank() == 1 ? NAN : 1);
    });
  });
  CHECK(errors == std::vector<std::string>(3));
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.ending == Ending::kNotFinite);
    CHECK(outcome.errors == std::vector<std::string>{"the loss became nan in step 5 on rank 1 alone"});
  }
}

TEST_CASE("ranks end after the same step when one of them is asked to end") {
  std::vector<Outcome> outcomes(3);
  const auto errors = in_ranks(3, [&](ProcessGroup& group) {
    int steps = 0;
    outcomes[size_t(group.rank())] = loop_over_digits(
        group,
        [&](const std::vector<Batch>&) {
          ++steps;
          return step_with_loss(1);
        },
        [&] { return group.rank() == 2 && steps == 7; });
  });
  CHECK(errors == std::vector<std::string>(3));
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.ending == Ending::kInterrupted);
    CHECK(outcome.steps == 7);
  }
}

TEST_CASE("after_backward runs once, after the outer pass, and not outside one") {
  const Tensor x = ops::ones({3}).set_requires_grad();
  int runs = 0;
  register_post_accumulate_hook(x, [&](const Tensor&) {
    after_backward([&] {
      ++runs;
      CHECK(x.grad().defined());
    });
  });
  x.sum().backward();
  CHECK(runs == 1);
  x.sum().backward();
  CHECK(runs == 2);
  CHECK_THROWS_WITH(after_backward([] {}), Catch::Contains("no backward pass is under way"));

  // checkpoint() runs a pass of its own inside, in which `inner` gets its gradient before `outer` has one.
  const Tensor inner = ops::ones({3}).set_requires_grad(), outer = ops::ones({3}).set_requires_grad();
  register_post_accumulate_hook(inner, [&](const Tensor&) {
    CHECK_FALSE(outer.grad().defined());
    after_backward([&] {
      ++runs;
      CHECK(outer.grad().defined());
    });
  });
  checkpoint([&](const std::vector<Tensor>& inputs) { return std::vector<Tensor>{inputs[0] * inner}; },
             {exp(outer)})[0]
      .sum()
      .backward();
  CHECK(runs == 3);
}
