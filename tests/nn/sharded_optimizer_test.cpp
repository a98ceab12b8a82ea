// ZeRO stage 1: ranks that keep a part of the optimiser's memory each, against one process that keeps all of it.

#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/engine.h"
#include "taper/core/gpu/runtime.h"
#include "taper/nn/amp/grad_scaler.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/optim/adam.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/lamb.h"
#include "taper/nn/optim/lars.h"
#include "taper/nn/optim/parameter_groups.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/parallel/distributed_data_parallel.h"
#include "taper/nn/train/train_step.h"
#include "taper/nn/train/training_state.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "tests/support/ranks.h"
#if TAPER_SIMULATED_GPU
#include "taper/core/gpu/sim.h"
#endif

using namespace taper;

namespace {

constexpr int64_t kBatchSize = 24, kInputs = 7, kOutputs = 5;
constexpr int kUpdates = 6;

/// Parameters of odd sizes: one element, fewer than there are ranks, and one that is not in row-major order.
struct OddNet : Module {
  Linear& first = register_module<Linear>("first", kInputs, 12);
  Tensor mix = register_parameter("mix", ops::ones({6, 2, 3, 2}, {.memory_format = kChannelsLast}));
  Tensor scale = register_parameter("scale", ops::ones({1}));
  Linear& last = register_module<Linear>("last", 6, kOutputs);
  Tensor operator()(const Tensor& x) {
    return last(relu(matmul(relu(first(x)), mix.reshape({6, 12}).transpose(0, 1)))) * scale;
  }
};

Tensor waves(const Shape& shape, int seed, Device device) {
  const Tensor x = ops::arange(0, taper::numel(shape), 1, {.dtype = kFloat64}).reshape(shape);
  return (sin(x * 12.9898 + double(seed) * 78.233) * 0.5).to(device);
}

struct Recipe {
  std::string optimizer = "sgd";
  bool groups =
      false;  ///< without weight decay for parameters of one dimension, and rates that fall with depth
  int64_t accumulate = 1;
  double clip = 0;
  bool scale = false;    ///< a GradScaler, and in update 2 an infinity in the images of the last rank
  bool average = false;  ///< the weights are those of an Ema
  Device device = kCPU;
  int64_t bucket_bytes = 300;  ///< several buckets
  bool sharded = true;
};

std::unique_ptr<Optimizer> optimizer_for(const Recipe& how, const Module& model) {
  ParameterGroupsOptions options = {.lr = 0.02, .weight_decay = 0.1};
  if (how.groups) {
    options.decay_norms = false;
    options.layer_of = [](const std::string& name) { return name.substr(0, name.find('.')); };
    options.layer_decay = 0.7;
  }
  const auto groups = group_parameters(model.named_parameters(), options);
  if (how.optimizer == "adam") return std::make_unique<Adam>(with_options(groups, AdamOptions()));
  if (how.optimizer == "adamw") return std::make_unique<AdamW>(with_options(groups, AdamWOptions()));
  return std::make_unique<SGD>(with_options(groups, SgdOptions{.momentum = 0.9, .nesterov = true}));
}

/// A rank's training, or with no group one process's.
class ShardRun {
 public:
  ShardRun(const Recipe& how, ProcessGroup* group) : how_(how), group_(group) {
    net_.to(kFloat64);
    net_.to(how.device);
    int seed = group ? 100 * group->rank() : 0;  // other ranks begin with other weights
    for (const Tensor& x : net_.parameters()) ops::copy_(x, waves(x.shape(), ++seed, x.device()));
    optimizer_ = optimizer_for(how, net_);
    if (group)
      parallel_.emplace(
          net_, *group,
          DataParallelOptions{.bucket_bytes = how.bucket_bytes, .first_bucket_bytes = how.bucket_bytes / 2});
    ema_.emplace(net_.named_parameters(), 0.9);
    scaler_.emplace(GradScalerOptions{.init_scale = 1024, .growth_interval = 2, .enabled = how.scale});
    state_.add_optimizer(*optimizer_);
    state_.add("ema", *ema_);
  }

  void shard() {
    if (parallel_ && how_.sharded) optimizer_->shard(parallel_->shards());
  }

  void train(int from, int until) {
    TrainStep step([this](const Batch& batch) { return cross_entropy(net_(batch.images), batch.labels); },
                   *optimizer_,
                   {.clip_grad = how_.clip,
                    .ema = &*ema_,
                    .scaler = &*scaler_,
                    .parallel = parallel_ ? &*parallel_ : nullptr});
    for (int update = from; update < until; ++update) {
      std::vector<Batch> batches;
      for (int64_t part = 0; part < how_.accumulate; ++part) batches.push_back(batch(update, part));
      skipped_ += step(batches).skipped();
    }
  }

  /// Returns weights, skipped updates and scale.
  std::vector<double> result() {
    std::optional<EmaScope> averaged;
    if (how_.average) averaged.emplace(*ema_);
    std::vector<double> all = {double(skipped_), scaler_->get_scale()};
    for (const Tensor& x : net_.parameters()) {
      const std::vector<double> values = ops::to_vector<double>(x);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }

  Optimizer& optimizer() { return *optimizer_; }
  OddNet& net() { return net_; }
  DistributedDataParallel& parallel() { return *parallel_; }
  TrainingState& state() { return state_; }

 private:
  Batch batch(int update, int64_t part) const {
    const int rank = group_ ? group_->rank() : 0, ranks = group_ ? group_->size() : 1;
    const Tensor images = waves({kBatchSize, kInputs}, 1000 + update * 10 + int(part), how_.device);
    if (how_.scale && update == 2) images[kBatchSize - 1] = INFINITY;
    std::vector<int64_t> classes;
    for (int64_t i = 0; i < kBatchSize; ++i) classes.push_back(i * i % kOutputs);
    const int64_t begin = kBatchSize * rank / ranks, end = kBatchSize * (rank + 1) / ranks;
    return {.images = images.slice(0, begin, end),
            .labels = from_vector(classes).to(how_.device).slice(0, begin, end)};
  }

  Recipe how_;
  ProcessGroup* group_;
  OddNet net_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<DistributedDataParallel> parallel_;
  std::optional<Ema> ema_;
  std::optional<GradScaler> scaler_;
  TrainingState state_{net_};
  int skipped_ = 0;
};

std::vector<double> trained_alone(const Recipe& how) {
  ShardRun run(how, nullptr);
  run.train(0, kUpdates);
  return run.result();
}

std::vector<std::vector<double>> trained_in_ranks(int ranks, const Recipe& how) {
  std::vector<std::vector<double>> results(static_cast<size_t>(ranks));
  const auto errors = in_ranks(ranks, [&](ProcessGroup& group) {
    Recipe own = how;
    if (how.device.is_cuda()) own.device.index = group.rank() % gpu::device_count();
    std::optional<gpu::DeviceGuard> guard;
    if (how.device.is_cuda()) guard.emplace(own.device.index);
    ShardRun run(own, &group);
    run.shard();
    run.train(0, kUpdates);
    results[size_t(group.rank())] = run.result();
  });
  REQUIRE(errors == std::vector<std::string>(size_t(ranks)));
  return results;
}

void check_close(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double apart = 0;
  for (size_t i = 0; i < a.size(); ++i) apart = std::max(apart, std::abs(a[i] - b[i]));
  CHECK(apart <= 1e-12);
}

void check_shards(int ranks, const Recipe& how) {
  const auto together = trained_in_ranks(ranks, how);
  for (const auto& result : together) CHECK(result == together[0]);
  check_close(together[0], trained_alone(how));
  CHECK(trained_in_ranks(ranks, how) == together);
}

}  // namespace

TEST_CASE("ranks with sharded optimisers train as one process does") {
  const int ranks = GENERATE(1, 2, 3, 4);
  const std::string optimizer = GENERATE("sgd", "adam", "adamw");
  CAPTURE(ranks, optimizer);
  check_shards(ranks, {.optimizer = optimizer});
  check_shards(ranks, {.optimizer = optimizer, .groups = true, .accumulate = 3, .bucket_bytes = 1 << 20});
  check_shards(ranks, {.optimizer = optimizer, .clip = 0.05, .average = true, .bucket_bytes = 1});
  check_shards(ranks, {.optimizer = optimizer, .clip = 0.05, .scale = true});
}

TEST_CASE("an infinity in a single rank's shard skips the update on all ranks") {
  std::vector<std::vector<double>> results(3);
  std::atomic<int> found = 0;
  const auto errors = in_ranks(3, [&](ProcessGroup& group) {
    ShardRun run({.scale = true}, &group);
    run.shard();
    int updates = 0;
    register_hook(run.net().scale,
                  [&](const Tensor& grad) {  // a parameter of one element, which one rank has
                    return updates++ == 1 ? grad * INFINITY : grad;
                  });
    run.train(0, 2);
    for (const Tensor& x : run.optimizer().parameters())
      for (const double value : ops::to_vector<double>(x.grad())) found += !std::isfinite(value);
    results[size_t(group.rank())] = run.result();
  });
  CHECK(errors == std::vector<std::string>(3));
  CHECK(found == 1);
  for (const auto& result : results) {
    CHECK(result == results[0]);
    CHECK(result[0] == 1);
  }
}

#if TAPER_SIMULATED_GPU
TEST_CASE("simulated GPUs with sharded optimisers train as one process does") {
  const std::vector<double> alone = trained_alone({.optimizer = "adamw", .clip = 0.05});
  gpu::sim::set_device_count(2);
  for (uint64_t seed = 0; seed < 6; ++seed) {
    CAPTURE(seed);
    gpu::sim::set_schedule_seed(seed);
    for (const auto& result : trained_in_ranks(2, {.optimizer = "adamw", .clip = 0.05, .device = kCUDA}))
      check_close(result, alone);
  }
  gpu::sim::reset();
}
#endif

TEST_CASE("a rank remembers its share: memory falls with the number of ranks") {
  const std::string optimizer = GENERATE("sgd", "adam");
  const int64_t kinds = optimizer == "adam" ? 2 : 1;
  for (const int ranks : {1, 2, 3, 4}) {
    CAPTURE(optimizer, ranks);
    std::atomic<int64_t> all = 0, most = 0, parameters = 0;
    const auto errors = in_ranks(ranks, [&](ProcessGroup& group) {
      ShardRun run({.optimizer = optimizer, .bucket_bytes = 1 << 20}, &group);
      run.shard();
      run.train(0, 1);
      const int64_t own = run.optimizer().memory_bytes();
      all += own;
      for (int64_t before = most; own > before && !most.compare_exchange_weak(before, own);) continue;
      parameters = run.net().parameter_count() * int64_t(sizeof(double));
    });
    REQUIRE(errors == std::vector<std::string>(size_t(ranks)));
    CHECK(all == kinds * parameters);
    CHECK(most <= kinds * (parameters / ranks + int64_t(sizeof(double))));
  }
}

namespace {

/// The checkpoint of `ranks` ranks (0: one process without a group) after half of the updates.
Checkpoint half_way(int ranks, Recipe how) {
  if (ranks == 0) {
    ShardRun run(how, nullptr);
    run.train(0, kUpdates / 2);
    return run.state().snapshot();
  }
  Checkpoint saved;
  const auto errors = in_ranks(ranks, [&](ProcessGroup& group) {
    ShardRun run(how, &group);
    run.shard();
    run.train(0, kUpdates / 2);
    if (group.rank() == 0)
      saved = run.state().snapshot();
    else
      run.state().help_snapshot();
  });
  REQUIRE(errors == std::vector<std::string>(size_t(ranks)));
  return saved;
}

/// The result of `ranks` ranks that go on from the checkpoint.
std::vector<double> gone_on(const Checkpoint& saved, int ranks, const Recipe& how, bool shards_first) {
  if (ranks == 0) {
    ShardRun run(how, nullptr);
    run.state().restore(saved);
    run.train(kUpdates / 2, kUpdates);
    return run.result();
  }
  std::vector<double> result;
  const auto errors = in_ranks(ranks, [&](ProcessGroup& group) {
    ShardRun run(how, &group);
    if (shards_first) run.shard();
    run.state().restore(saved);
    if (!shards_first) run.shard();
    run.train(kUpdates / 2, kUpdates);
    if (group.rank() == 0) result = run.result();
  });
  REQUIRE(errors == std::vector<std::string>(size_t(ranks)));
  return result;
}

}  // namespace

TEST_CASE("a checkpoint of sharded ranks is one of a whole optimiser: any number of ranks goes on from it") {
  const std::string optimizer = GENERATE("sgd", "adamw");
  const bool shards_first = GENERATE(false, true);
  CAPTURE(optimizer, shards_first);
  const Recipe how = {.optimizer = optimizer, .groups = true, .average = true};
  Recipe unsharded = how;
  unsharded.sharded = false;
  const std::vector<double> straight = trained_alone(how);
  Checkpoint of_one = half_way(0, how), of_three = half_way(3, how);
  for (Checkpoint* saved : {&of_one, &of_three})  // in row-major order, as files have it
    for (auto& [name, tensor] : saved->parts.at("optimizer").tensors) tensor = ops::contiguous(tensor);
  for (const auto& [name, tensor] : of_one.part("optimizer").tensors) {
    CAPTURE(name);
    check_close(ops::to_vector<double>(of_three.part("optimizer").tensors.at(name)),
                ops::to_vector<double>(tensor));
  }
  CHECK(of_three.part("optimizer").tensors.size() == of_one.part("optimizer").tensors.size());
  CHECK(of_three.part("optimizer").numbers == of_one.part("optimizer").numbers);
  for (const Checkpoint* saved : {&of_one, &of_three}) {
    check_close(gone_on(*saved, 0, how, shards_first), straight);
    check_close(gone_on(*saved, 2, how, shards_first), straight);
    check_close(gone_on(*saved, 3, how, shards_first), straight);
    check_close(gone_on(*saved, 2, unsharded, shards_first), straight);
  }
}

TEST_CASE("shards: gradients are the ranks' own, and zero_grad() drops those of the parameters, too") {
  const auto errors = in_ranks(2, [](ProcessGroup& group) {
    ShardRun run({}, &group);
    run.shard();
    const auto backward = [&] {
      run.net()(ops::full({2, kInputs}, 1, {.dtype = kFloat64})).sum().backward();
    };
    backward();
    for (const Tensor& x : run.net().parameters()) expect(!x.grad().defined(), "no gradient of a parameter");
    for (const Tensor& x : run.optimizer().parameters()) expect(x.grad().defined(), "the shards' gradients");
    expect(error_of(backward).find("has the gradient of another backward()") != std::string::npos,
           "a second backward() is refused");
    run.optimizer().zero_grad();
    for (const Tensor& x : run.net().parameters()) expect(!x.grad().defined(), "what was left is gone");
    const auto first_gradient = [&] {
      std::vector<double> all;
      for (const Tensor& x : run.optimizer().parameters())
        for (const double value : ops::to_vector<double>(x.grad())) all.push_back(value);
      return all;
    };
    backward();
    const std::vector<double> once = first_gradient();
    {
      run.optimizer().zero_grad(false);
      const DistributedDataParallel::NoSync alone(run.parallel());
      backward();
      expect(run.net().mix.grad().defined(), "gradients add up in the parameters");
      run.optimizer().zero_grad();
    }
    backward();
    expect(first_gradient() == once, "nothing is left of the backward() before");
  });
  CHECK(errors == std::vector<std::string>(2));
}

TEST_CASE("what cannot be sharded is refused") {
  const auto groups = make_local_groups(1);
  OddNet net, other;
  DistributedDataParallel parallel(net, *groups[0]);
  CHECK_THROWS_WITH(Lars(net.named_parameters()).shard(parallel.shards()),
                    Catch::Contains("Lars: its update needs norms of whole parameters"));
  CHECK_THROWS_WITH(Lamb(net.named_parameters()).shard(parallel.shards()),
                    Catch::Contains("Lamb: its update"));
  SGD sgd(net.named_parameters());
  sgd.shard(parallel.shards());
  CHECK_THROWS_WITH(sgd.shard(parallel.shards()), Catch::Contains("was called before"));
  SGD of_another(other.named_parameters());
  CHECK_THROWS_WITH(of_another.shard(parallel.shards()), Catch::Contains("none of those that"));
  CHECK(of_another.shards() == nullptr);
}
