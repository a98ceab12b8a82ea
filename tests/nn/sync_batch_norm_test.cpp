// Synchronised batch norm: ranks with parts of a batch against one process with the whole batch.

#include "taper/nn/parallel/sync_batch_norm.h"

#include <catch2/catch.hpp>
#include <numeric>
#include <optional>

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/autograd/tape/engine.h"
#include "taper/core/gpu/runtime.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/parallel/distributed_data_parallel.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/moments/merge_moments.h"
#include "tests/support/ranks.h"
#include "tests/support/small_resnet.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"
#if TAPER_SIMULATED_GPU
#include "taper/core/gpu/sim.h"
#endif

using namespace taper;
using Catch::Contains;

namespace {

using Values = std::vector<double>;

struct SyncCase {
  std::string name;
  Shape image;               ///< of one image: [C, H, W] or [C]
  std::vector<int64_t> cut;  ///< the images of each rank
  bool affine, residual, relu;
};

const std::vector<SyncCase> kSyncCases = {
    {"one rank", {5, 3, 2}, {6}, true, true, true},
    {"two ranks", {3, 4, 5}, {4, 4}, true, false, false},
    {"three ranks, not affine", {7, 3, 3}, {2, 2, 2}, false, false, true},
    {"four ranks", {17, 2, 3}, {3, 3, 3, 3}, true, true, true},
    {"residual alone", {4, 3, 3}, {2, 3}, true, true, false},
    {"parts of all sizes", {9, 2, 2}, {5, 1, 0, 11}, true, true, true},
    {"a first part without images", {3, 2, 2}, {0, 2}, true, false, true},
    {"one value on each", {6, 1, 1}, {1, 1, 1}, true, true, true},
    {"features", {10}, {1, 7}, true, true, true},
    {"many channels", {1030, 1, 2}, {2, 1}, true, false, true},
};

/// What a pass over a part of the batch gives.
struct Pass {
  Values y, x, residual, weight, bias, running_mean, running_var;
};

int64_t images_before(const SyncCase& test, size_t rank) {
  return std::accumulate(test.cut.begin(), test.cut.begin() + int64_t(rank), int64_t(0));
}

/// Runs forward and backward of the images [begin, end): in training by sync_batch_norm(), without a group by
/// batch_norm(). offset: added to the images.
Pass run(const SyncCase& test, ProcessGroup* group, int64_t begin, int64_t end, Device device, DType dtype,
         double offset = 0) {
  Shape batch = test.image;
  batch.insert(0, images_before(test, test.cut.size()));
  const auto images = [&](uint64_t seed, double shift = 0) {
    return ops::to_device(ops::clone(ops::add(random_tensor(batch, dtype, seed), shift).slice(0, begin, end)),
                          device);
  };
  const auto row = [&](uint64_t seed) {
    return ops::to_device(random_tensor({test.image[0]}, compute_dtype(dtype), seed), device);
  };
  const Tensor x = images(1, offset).set_requires_grad();
  const Tensor residual = test.residual ? images(2).set_requires_grad() : Tensor();
  const Tensor weight = test.affine ? row(3).set_requires_grad() : Tensor();
  const Tensor bias = test.affine ? row(4).set_requires_grad() : Tensor();
  const Tensor running_mean = row(5), running_var = row(6);
  const BatchNormOptions options = {.momentum = 0.3, .eps = 1e-3, .relu = test.relu};
  const Tensor y =
      group ? sync_batch_norm(x, weight, bias, running_mean, running_var, *group, options, residual)
            : batch_norm(x, weight, bias, running_mean, running_var, true, options, residual);
  y.backward(images(7));
  const auto gradient = [](const Tensor& of) {
    return of.defined() ? ops::to_vector<double>(of.grad()) : Values();
  };
  return {ops::to_vector<double>(y),
          gradient(x),
          gradient(residual),
          gradient(weight),
          gradient(bias),
          ops::to_vector<double>(running_mean),
          ops::to_vector<double>(running_var)};
}

/// Returns what each rank's body returns. The ranks share the GPUs, if that is what `device` is.
template <class Body>
auto on_ranks(int ranks, Device device, const Body& body) {
  std::vector<decltype(body(std::declval<ProcessGroup&>(), device))> results(static_cast<size_t>(ranks));
  const auto errors = in_ranks(ranks, [&](ProcessGroup& group) {
    Device own = device;
    std::optional<gpu::DeviceGuard> guard;
    if (device.is_cuda()) guard.emplace(own.index = group.rank() % gpu::device_count());
    results[size_t(group.rank())] = body(group, own);
  });
  REQUIRE(errors == std::vector<std::string>(size_t(ranks)));
  return results;
}

std::vector<Pass> run_on_ranks(const SyncCase& test, Device device, DType dtype, double offset = 0) {
  return on_ranks(int(test.cut.size()), device, [&](ProcessGroup& group, Device own) {
    const int64_t begin = images_before(test, size_t(group.rank()));
    return run(test, &group, begin, begin + test.cut[size_t(group.rank())], own, dtype, offset);
  });
}

/// The parts of what images have, one after the other.
Values joined(const std::vector<Pass>& passes, Values Pass::*of) {
  Values all;
  for (const Pass& pass : passes) all.insert(all.end(), (pass.*of).begin(), (pass.*of).end());
  return all;
}

/// The ranks' shares of what parameters have, added up.
Values added(const std::vector<Pass>& passes, Values Pass::*of) {
  Values sum((passes[0].*of).size());
  for (const Pass& pass : passes)
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += (pass.*of)[i];
  return sum;
}

void check_like_whole(const std::vector<Pass>& ranks, const Pass& whole, double images, double rows) {
  for (const Pass& rank : ranks) {
    CHECK(rank.running_mean == ranks[0].running_mean);  // bit for bit
    CHECK(rank.running_var == ranks[0].running_var);
  }
  check_close(ranks[0].running_mean, whole.running_mean, rows, 1);
  check_close(ranks[0].running_var, whole.running_var, rows, 1);
  check_close(joined(ranks, &Pass::y), whole.y, images, 1);
  check_close(joined(ranks, &Pass::x), whole.x, images, 1);
  check_close(joined(ranks, &Pass::residual), whole.residual, images, 1);
  check_close(added(ranks, &Pass::weight), whole.weight, rows, 1);
  check_close(added(ranks, &Pass::bias), whole.bias, rows, 1);
}

}  // namespace

TEST_CASE("ranks with synchronised batch norm compute what one process with the whole batch does") {
  const PoisonedMemory poisoned;
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  for (const SyncCase& test : kSyncCases) {
    INFO(test.name << ", " << name(dtype) << " on " << device.str());
    const int64_t images = images_before(test, test.cut.size());
    const Pass whole = run(test, nullptr, 0, images, device, dtype);
    const bool exact = dtype == kFloat64;
    // Twice: both sides are rounded.
    check_like_whole(run_on_ranks(test, device, dtype), whole,
                     exact ? 1e-12 : 2 * tolerance(dtype, images * 30),
                     exact ? 1e-12 : 2 * tolerance(compute_dtype(dtype), images * 30));
  }
}

TEST_CASE("moments of parts merge to those of the whole, and nothing cancels far from zero") {
  const PoisonedMemory poisoned;
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat64, kFloat32);
  // Values 1, 2, ..., 6 above an offset, cut into 1, 2, nothing and 3, in a channel beside one of zeros.
  const double at = dtype == kFloat64 ? 1e9 : 1e5;
  const Tensor parts = ops::to_device(ops::cast(from_vector(Values{1, at + 1,   0,   0,      0,         //
                                                                   2, at + 2.5, 0,   0.25,   0,         //
                                                                   0, NAN,      NAN, NAN,    INFINITY,  //
                                                                   3, at + 5,   0,   2. / 3, 0},
                                                            {4, 5}),
                                                dtype),
                                      device);
  const BatchMoments merged = ops::merge_moments(parts);
  CHECK(ops::item<double>(merged.count) == 6);
  check_close(ops::to_vector<double>(merged.mean), {at + 3.5, 0}, tolerance(dtype, 1), 0);
  check_close(ops::to_vector<double>(merged.var), {35. / 12, 0}, tolerance(dtype, 4), 0);

  CHECK_THROWS_WITH(ops::merge_moments(ops::zeros({2, 4})),
                    Contains("f32 or f64 [parts, 1 + 2 * C], got f32 [2, 4]"));
}

TEST_CASE("synchronised batch norm of images far from zero") {
  const Device device = GENERATE(from_range(test_devices()));
  const SyncCase test = {"", {5, 6, 7}, {3, 5, 2}, true, false, true};
  const Pass near = run(test, nullptr, 0, 10, device, kFloat64);
  for (const Pass& rank : run_on_ranks(test, device, kFloat64, 1e6)) {
    check_close(rank.running_var, near.running_var, 1e-9, 0);
    CHECK(rank.running_mean[0] == Approx(near.running_mean[0] + 0.3e6).epsilon(1e-12));
  }
  check_close(joined(run_on_ranks(test, device, kFloat64, 1e6), &Pass::x), near.x, 1e-9, 1);
}

TEST_CASE("a group of one rank is ordinary batch norm, of any order of derivatives") {
  const auto groups = make_local_groups(1);
  const SyncCase& test = kSyncCases[0];
  const Pass alone = run(test, nullptr, 0, 6, kCPU, kFloat32),
             one = run(test, groups[0].get(), 0, 6, kCPU, kFloat32);
  CHECK(one.y == alone.y);
  CHECK(one.x == alone.x);
  CHECK(one.running_var == alone.running_var);
  CHECK(groups[0]->statistics().calls == 0);
  const Tensor x = random_tensor({4, 3}).set_requires_grad();
  CHECK_NOTHROW(grad({sync_batch_norm(x, {}, {}, {}, {}, *groups[0])}, {x},
                     {ops::ones({4, 3}, {.dtype = kFloat64})}, {.create_graph = true}));
}

TEST_CASE("synchronised batch norm has no second derivative and says so on all ranks") {
  const auto errors = in_ranks(2, [](ProcessGroup& group) {
    const Tensor x = random_tensor({4, 3}, kFloat64, uint64_t(group.rank())).set_requires_grad();
    const Tensor y = sync_batch_norm(x, {}, {}, {}, {}, group);
    grad({y}, {x}, {ops::ones_like(y)}, {.create_graph = true});
  });
  for (const std::string& error : errors)
    CHECK_THAT(error, Contains("backward with create_graph: sync_batch_norm") &&
                          Contains("has no second derivative in Taper"));
}

TEST_CASE("synchronised batch norm refuses what does not fit, on all ranks") {
  const Device device = GENERATE(from_range(test_devices()));
  const auto errors_with = [&](const std::function<Tensor(int)>& part) {
    return in_ranks(2, [&](ProcessGroup& group) {
      sync_batch_norm(ops::to_device(part(group.rank()), device), {}, {}, {}, {}, group);
    });
  };
  auto errors = errors_with([](int rank) { return ops::ones({rank, 3, 1, 1}); });
  for (int rank = 0; rank < 2; ++rank)
    CHECK(errors[size_t(rank)] ==
          fmt::format("batch_norm: training needs more than one value per channel, got input "
                      "[{}, 3, 1, 1] of a batch with one; use a larger batch or eval()",
                      rank));
  errors = errors_with([](int rank) { return ops::ones({2, 3 + rank}); });
  for (const std::string& error : errors)
    CHECK_THAT(error, Contains("(batch norm moments) while rank 0 calls"));

  errors = in_ranks(2, [&](ProcessGroup& group) {
    sync_batch_norm(ops::ones({2, 3}), {}, {}, {}, {}, group, {}, {}, {ops::ones({4}), ops::ones({4})});
  });
  for (const std::string& error : errors) CHECK_THAT(error, Contains("[3]") && Contains("[4]"));
  const Tensor count = ops::ones({1}, {.dtype = kFloat64});
  CHECK_THROWS_WITH(ops::batch_norm_training(ops::ones({2, 3}), {}, {}, {}, {}, {}, {}, false,
                                             {ops::ones({3}), ops::ones({3}), count}),
                    Contains("count must be f64 [], got f64 [1]"));
}

TEST_CASE("synchronised batch norm under autocast takes dtypes as batch norm does") {
  const Device device = GENERATE(from_range(test_devices()));
  const auto results = on_ranks(2, device, [](ProcessGroup& group, Device own) {
    const AutocastGuard autocast(own.type, kBFloat16);
    const Tensor x = random_tensor({6, 5}, kBFloat16, 1).to(own),
                 residual = random_tensor({6, 5}, kFloat32, 2).to(own);
    const Tensor whole = batch_norm(x, {}, {}, {}, {}, true, {.relu = true}, residual);
    const int64_t begin = 3 * group.rank();
    const Tensor y = sync_batch_norm(x.slice(0, begin, begin + 3), {}, {}, {}, {}, group, {.relu = true},
                                     residual.slice(0, begin, begin + 3));
    expect(y.dtype() == whole.dtype(), "the dtype");
    return std::pair(ops::to_vector<double>(y), ops::to_vector<double>(whole.slice(0, begin, begin + 3)));
  });
  for (const auto& [y, whole] : results) check_close(y, whole, 2 * tolerance(kBFloat16, 6), 1);
}

TEST_CASE("a synchronised layer asks the others in training alone, once forward and once backward") {
  const auto errors = in_ranks(2, [](ProcessGroup& group) {
    test::SmallResNet model(4);
    expect(synchronise_batch_norms(model, &group) == 7, "all batch norms");
    const Tensor x = random_tensor({2, 3, 8, 8}, kFloat32, uint64_t(1 + group.rank()));
    const auto calls = [&](const std::function<void()>& body) {
      const int64_t before = group.statistics().calls;
      body();
      return group.statistics().calls - before;
    };
    Tensor y;
    expect(calls([&] { y = model(x); }) == 7, "forward");
    expect(calls([&] { y.sum().backward(); }) == 7, "backward");
    model.bn1.freeze_statistics();
    expect(calls([&] { model(x).sum().backward(); }) == 12, "frozen statistics");
    model.eval();
    expect(calls([&] { model(x); }) == 0, "evaluation");
    model.train();
    expect(synchronise_batch_norms(model, nullptr) == 7, "all again");
    expect(calls([&] { model(x).sum().backward(); }) == 0, "alone again");
  });
  CHECK(errors == std::vector<std::string>(2));
}

namespace {

constexpr int kSteps = 4;
constexpr int64_t kImages = 12;

/// Trains with the images [begin, end) of every batch. Returns each step's loss, as the batch's mean, and all that the
/// model holds in the end.
Values train(ProcessGroup* group, int64_t begin, int64_t end, Device device) {
  test::SmallResNet model(4);
  model.to(kFloat64);
  model.to(device);
  uint64_t seed = group ? 1000 * uint64_t(group->rank()) : 0;  // other ranks begin with other weights
  for (const Tensor& x : model.parameters())
    ops::copy_(x.detach(), random_tensor(x.shape(), kFloat64, ++seed, 0.4));
  std::optional<DistributedDataParallel> parallel;
  if (group) {
    synchronise_batch_norms(model, group);
    parallel.emplace(model, *group);
  }
  SGD optimizer(model.named_parameters(), {.lr = 0.05, .momentum = 0.9});
  Values result;
  for (int step = 0; step < kSteps; ++step) {
    const Tensor images = random_tensor({kImages, 3, 8, 8}, kFloat64, 100 + uint64_t(step)).to(device);
    std::vector<int64_t> classes;
    for (int64_t i = 0; i < kImages; ++i) classes.push_back(i * i % 10);
    optimizer.zero_grad();
    // This rank's share of the batch's mean loss, times the ranks: DistributedDataParallel takes the mean of them.
    const double share = double(end - begin) / double(kImages) * (group ? group->size() : 1);
    const Tensor loss = cross_entropy(model(images.slice(0, begin, end)),
                                      from_vector(classes).to(device).slice(0, begin, end)) *
                        share;
    loss.backward();
    optimizer.step();
    const Tensor mean = ops::to_device(ops::clone(loss.detach()), kCPU);
    if (group) group->all_reduce(mean, ReduceOp::kMean).wait();
    result.push_back(ops::item(mean));
  }
  for (const auto& [name, tensor] : model.state_dict()) {
    const Values values = ops::to_vector<double>(tensor);
    result.insert(result.end(), values.begin(), values.end());
  }
  return result;
}

/// cut: where each rank's images begin, and their end.
void check_training(const std::vector<int64_t>& cut, Device device) {
  const Values alone = train(nullptr, 0, kImages, kCPU);
  const auto together = on_ranks(int(cut.size()) - 1, device, [&](ProcessGroup& group, Device own) {
    return train(&group, cut[size_t(group.rank())], cut[size_t(group.rank()) + 1], own);
  });
  for (const Values& result : together) {
    CHECK(result == together[0]);  // running statistics among them, bit for bit
    REQUIRE(result.size() == alone.size());
    double apart = 0;
    for (size_t i = 0; i < alone.size(); ++i) apart = std::max(apart, std::abs(result[i] - alone[i]));
    CHECK(apart <= 1e-12);
  }
}

}  // namespace

TEST_CASE("ranks with synchronised batch norms train as one process with the whole batch does") {
  const auto cut =
      GENERATE(std::vector<int64_t>{0, 12}, std::vector<int64_t>{0, 6, 12}, std::vector<int64_t>{0, 4, 8, 12},
               std::vector<int64_t>{0, 3, 6, 9, 12}, std::vector<int64_t>{0, 1, 8, 12});
  CAPTURE(cut);
  check_training(cut, kCPU);
}

#if TAPER_SIMULATED_GPU
TEST_CASE(
    "simulated GPUs with synchronised batch norms train as one process does, in any order of their streams") {
  gpu::sim::set_device_count(2);
  for (uint64_t seed = 0; seed < 4; ++seed) {
    CAPTURE(seed);
    gpu::sim::set_schedule_seed(seed);
    check_training({0, 7, 12}, kCUDA);
  }
  gpu::sim::reset();
}
#endif
