// NCCL's call paths, through a stand-in for the library (fake_nccl.cpp), on simulated GPUs whose streams run late and in
// any order.

#include <catch2/catch.hpp>
#include <cstdlib>

#include "ranks.h"
#include "taper/autograd/functions.h"
#include "taper/autograd/tape/engine.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/gpu/sim.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/parallel/distributed_data_parallel.h"
#include "taper/nn/train/captured_step.h"
#include "taper/nn/train/train_step.h"
#include "taper/ops/collective/nccl_collectives.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"

using namespace taper;

namespace {

/// As many simulated GPUs as ranks, in an order of their own.
struct Gpus {
  explicit Gpus(int count, uint64_t seed = 0) {
    gpu::sim::set_device_count(count);
    gpu::sim::set_schedule_seed(seed);
  }
  ~Gpus() { gpu::sim::reset(); }
  Gpus(const Gpus&) = delete;
  Gpus& operator=(const Gpus&) = delete;
};

/// What the stand-in is to do wrong.
struct Fault {
  explicit Fault(const char* what) { ::setenv("TAPER_FAKE_NCCL", what, 1); }
  ~Fault() { ::unsetenv("TAPER_FAKE_NCCL"); }
  Fault(const Fault&) = delete;
  Fault& operator=(const Fault&) = delete;
};

/// Calls body(group, device) in each rank, with NCCL.
std::vector<std::string> in_ranks_with_nccl(int ranks, const std::function<void(ProcessGroup&, Device)>& body,
                                            CollectiveTimeout timeout = CollectiveTimeout(60)) {
  return in_ranks(
      ranks,
      [&](ProcessGroup& group) {
        const gpu::DeviceGuard guard(group.rank());
        const std::string refusal = use_nccl(group, group.rank(), {TAPER_FAKE_NCCL});
        expect(refusal.empty(), "NCCL, but: " + refusal);
        body(group, Device(kCUDA, group.rank()));
      },
      timeout);
}

/// Goes on with collectives, as a rank does that has not heard of a failure, until one fails.
void call_until_it_fails(ProcessGroup& group) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    group.all_reduce(ops::zeros({1})).wait();
  }
}

/// Returns [n] numbers that differ by rank, made on the GPU, so that they are late.
Tensor late_numbers(int rank, const Shape& shape, DType dtype, Device device) {
  return ops::add(ops::full(shape, rank, {.dtype = dtype, .device = device}), 1);
}

}  // namespace

TEST_CASE("NCCL gets every collective in every dtype, in the order of the streams") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Gpus gpus(4, seed);
    const auto errors = in_ranks_with_nccl(4, [&](ProcessGroup& group, Device device) {
      for (const DType dtype : {kFloat32, kFloat64, kFloat16, kBFloat16, kInt32, kInt64}) {
        const Tensor sum = late_numbers(group.rank(), {300}, dtype, device);
        Collective summing = group.all_reduce(sum);
        const Tensor mean = late_numbers(group.rank(), {4, 5}, dtype, device);
        Collective averaging =
            is_floating_point(dtype) ? group.all_reduce(mean, ReduceOp::kMean) : Collective();
        const Tensor largest = late_numbers(group.rank(), {3}, dtype, device);
        Collective finding = group.all_reduce(largest, ReduceOp::kMax);
        summing.wait();
        averaging.wait();
        finding.wait();
        expect(ops::to_vector<double>(sum) == std::vector<double>(300, 10), "sums");
        if (is_floating_point(dtype))
          expect(ops::to_vector<double>(mean) == std::vector<double>(20, 2.5), "means");
        expect(ops::to_vector<double>(largest) == std::vector<double>(3, 4), "largest");
      }
      const Tensor rows = ops::full({4, 2}, 0, {.device = device});
      ops::copy_(rows.select(0, group.rank()), late_numbers(group.rank(), {2}, kFloat32, device));
      group.all_gather(rows).wait();
      expect(ops::to_vector<double>(rows) == std::vector<double>{1, 1, 2, 2, 3, 3, 4, 4}, "rows");
      const Tensor parts = late_numbers(group.rank(), {4, 7}, kFloat32, device);
      group.reduce_scatter(parts).wait();
      expect(ops::to_vector<double>(parts.select(0, group.rank())) == std::vector<double>(7, 10), "own part");
      const Tensor flags = late_numbers(group.rank(), {9}, kUInt8, device);
      group.broadcast(flags, 2).wait();
      expect(ops::to_vector<int64_t>(flags) == std::vector<int64_t>(9, 3), "root's");
    });
    CHECK(errors == std::vector<std::string>(4));
  }
}

TEST_CASE("NCCL's collectives are counted, with the time that something waited for them") {
  const Gpus gpus(2);
  const auto errors = in_ranks_with_nccl(2, [&](ProcessGroup& group, Device device) {
    const CollectiveStatistics before = group.statistics();
    for (int i = 0; i < 5; ++i) {
      const Tensor x = late_numbers(group.rank(), {100}, kFloat32, device);
      group.all_reduce(x).wait();
      gpu::synchronize(device.index);
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (group.statistics().calls < before.calls + 5 && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const CollectiveStatistics after = group.statistics();
    expect(after.calls == before.calls + 5, "5 calls");
    expect(after.bytes == before.bytes + 5 * 400, "their bytes");
    expect(after.seconds >= before.seconds && after.waited_seconds >= before.waited_seconds, "their times");
    for (const char* field : {"all-reduce\t100\tf32"})
      expect(group.flight_recorder().table().find(field) != std::string::npos, "the record");
  });
  CHECK(errors == std::vector<std::string>(2));
}

namespace {

struct Net : Module {
  Linear& first = register_module<Linear>("first", 7, 11);
  Linear& second = register_module<Linear>("second", 11, 6);
  Linear& third = register_module<Linear>("third", 6, 5);
  Tensor operator()(const Tensor& x) { return third(relu(second(relu(first(x))))); }
};

/// Trains on a simulated GPU for each rank. Returns rank 0's weights. Throws if the first bucket was not on its way before
/// the last gradient was there.
std::vector<double> weights_after_training(bool with_nccl, uint64_t seed, bool sharded = false,
                                           std::optional<DType> wire = {}) {
  const Gpus gpus(2, seed);
  std::vector<double> weights;
  const auto errors = in_ranks(2, [&](ProcessGroup& group) {
    const gpu::DeviceGuard guard(group.rank());
    const Device device(kCUDA, group.rank());
    if (with_nccl) expect(use_nccl(group, group.rank(), {TAPER_FAKE_NCCL}).empty(), "NCCL");
    Net net;
    int number = 0;
    for (const Tensor& x : net.parameters()) {
      const NoGradGuard no_grad;
      ops::copy_(
          x, ops::sin(ops::add(ops::arange(0, double(x.numel()), 1).reshape(x.shape()), double(++number))));
    }
    net.to(device);
    int64_t first_buckets = 0;  // on their way when the last gradient is there
    register_post_accumulate_hook(net.first.weight, [&](const Tensor&) {
      const std::string table = group.flight_recorder().table();
      first_buckets = 0;
      for (size_t at = 0; (at = table.find("\tgradients 0\t", at)) != std::string::npos; ++at)
        ++first_buckets;
    });
    DistributedDataParallel parallel(net, group,
                                     {.bucket_bytes = 100, .first_bucket_bytes = 50, .wire_dtype = wire});
    SGD optimizer(net.named_parameters(), {.lr = 0.1, .momentum = 0.9});
    if (sharded) optimizer.shard(parallel.shards());
    for (int step = 0; step < 3; ++step) {
      optimizer.zero_grad();
      const Tensor x = ops::sin(ops::full({4, 7}, 1.0 + group.rank() + step, {.device = device}));
      square(net(x)).sum().backward();
      expect(first_buckets == (step == 0 && !sharded ? 0 : step + 1), "the first bucket under way");
      optimizer.step();
    }
    if (group.rank() != 0) return;
    for (const Tensor& x : net.parameters())
      for (const double value : ops::to_vector<double>(x)) weights.push_back(value);
  });
  CHECK(errors == std::vector<std::string>(2));
  return weights;
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kSlower = 20;  // and every order runs the same code
#else
constexpr uint64_t kSlower = 1;
#endif

}  // namespace

TEST_CASE("training over NCCL gives the bits of training through host memory, in 200 orders of the streams") {
  const std::vector<double> expected = weights_after_training(false, 0);
  REQUIRE(expected.size() == 11 * 7 + 11 + 6 * 11 + 6 + 5 * 6 + 5);
  for (uint64_t seed = 0; seed < 200 / kSlower; ++seed) {
    CAPTURE(seed);
    REQUIRE(weights_after_training(true, seed) == expected);
  }
}

TEST_CASE(
    "sharded optimisers and gradients in bf16 over NCCL give the bits that they give through host memory") {
  const std::vector<double> expected = weights_after_training(false, 0);
  const std::vector<double> rounded = weights_after_training(false, 0, false, kBFloat16);
  CHECK(rounded != expected);
  for (uint64_t seed = 0; seed < 60 / kSlower; ++seed) {
    CAPTURE(seed);
    REQUIRE(weights_after_training(true, seed, true) == expected);
    REQUIRE(weights_after_training(true, seed, true, kBFloat16) ==
            weights_after_training(true, seed, false, kBFloat16));
  }
}

namespace {

struct Replayed {
  std::vector<double> weights;  ///< of rank 0
  int64_t replays = 0;
  std::string refusal;
};

/// Trains on a simulated GPU for each rank, with steps that are replayed if they can be.
Replayed train_in_steps(int ranks, bool with_nccl, bool capture) {
  const Gpus gpus(ranks);
  Replayed result;
  const auto errors = in_ranks(ranks, [&](ProcessGroup& group) {
    const gpu::DeviceGuard guard(group.rank());
    const Device device(kCUDA, group.rank());
    if (with_nccl) expect(use_nccl(group, group.rank(), {TAPER_FAKE_NCCL}).empty(), "NCCL");
    Net net;
    for (const Tensor& x : net.parameters()) {
      const NoGradGuard no_grad;
      ops::copy_(x, ops::sin(ops::arange(1, double(x.numel()) + 1, 1).reshape(x.shape())));
    }
    net.to(device);
    DistributedDataParallel parallel(net, group, {.bucket_bytes = 100, .first_bucket_bytes = 50});
    SGD optimizer(net.named_parameters(), {.lr = 0.1, .momentum = 0.9});
    if (with_nccl) optimizer.shard(parallel.shards());  // then a group of one has collectives, too
    TrainStep step([&](const Batch& batch) { return square(net(batch.images)).sum(); }, optimizer,
                   {.clip_grad = 0.5, .parallel = &parallel, .capture = capture});
    for (int i = 0; i < 6; ++i) {
      Batch batch;
      batch.images = ops::sin(ops::full({4, 7}, 1.0 + group.rank() + i, {.device = device}));
      batch.labels = ops::zeros({4}, {.dtype = kInt64, .device = device});
      step({batch}).loss();
    }
    if (group.rank() != 0) return;
    for (const Tensor& x : net.parameters())
      for (const double value : ops::to_vector<double>(x)) result.weights.push_back(value);
    if (!capture) return;
    result.replays = step.captured()->replays();
    result.refusal = step.captured()->refusal();
  });
  CHECK(errors == std::vector<std::string>(size_t(ranks)));
  return result;
}

}  // namespace

// The stand-in synchronises streams if there are several ranks, which no graph can capture.
TEST_CASE("steps with collectives are replayed over NCCL, and run as they are without, with the same bits") {
  const Replayed replayed = train_in_steps(1, true, true);
  CHECK(replayed.weights == train_in_steps(1, true, false).weights);
  CHECK(replayed.refusal.empty());
  CHECK(replayed.replays == 4);
  const Replayed host = train_in_steps(2, false, true);
  CHECK(host.weights == train_in_steps(2, false, false).weights);
  CHECK(host.replays == 0);
  CHECK_THAT(host.refusal, Catch::Contains("goes through host memory, which no graph can capture"));
}

TEST_CASE("a graph captures collectives over NCCL, and no others") {
  const Gpus gpus(1);
  const auto errors = in_ranks_with_nccl(1, [](ProcessGroup& group, Device device) {
    const Tensor x = ops::full({64}, 3, {.device = device}), sum = ops::zeros({64}, {.device = device});
    const gpu::Stream stream = gpu::stream_from_pool(device.index);
    gpu::synchronize(device.index);
    const gpu::StreamGuard guard(stream);
    gpu::begin_capture(stream);
    ops::mul_(x, 2);
    Collective mean = group.all_reduce(x, ReduceOp::kMean, "captured");
    mean.wait();
    ops::add_(sum, x);
    const gpu::Graph graph = gpu::end_capture(stream);
    gpu::synchronize(device.index);
    expect(ops::to_vector<double>(sum) == std::vector<double>(64, 0), "nothing has run");
    for (int replay = 0; replay < 2; ++replay) graph.replay(stream);
    expect(ops::to_vector<double>(sum) == std::vector<double>(64, 6 + 12), "two replays");
    group.all_reduce(x).wait();  // outside of a graph again
    expect(ops::to_vector<double>(x) == std::vector<double>(64, 12), "the elements");
  });
  CHECK(errors == std::vector<std::string>(1));
  const auto groups = make_local_groups(1);
  const Tensor x = ops::zeros({4}, {.device = kCUDA});
  const gpu::Stream stream = gpu::stream_from_pool();
  const gpu::StreamGuard guard(stream);
  gpu::begin_capture(stream);
  CHECK_THROWS_WITH(groups[0]->all_reduce(x), Catch::Contains("which no graph can capture; see use_nccl()"));
  gpu::end_capture(stream);
}

TEST_CASE("a collective that does not end on a GPU ends all ranks' collectives") {
  const Gpus gpus(3);
  const Fault fault("slow");
  const auto errors = in_ranks_with_nccl(
      3,
      [&](ProcessGroup& group, Device device) {
        const Tensor x = late_numbers(group.rank(), {8}, kFloat32, device);
        group.all_reduce(x, ReduceOp::kSum, "gradients 3").wait();
        call_until_it_fails(group);
      },
      CollectiveTimeout(0.5));
  for (const std::string& error : errors)
    CHECK_THAT(error, Catch::Contains("of 8 f32 (gradients 3) does not end on the GPU of rank") &&
                          Catch::Contains("within 0.5 s"));
}

TEST_CASE("what NCCL refuses on one rank reaches all ranks") {
  const Gpus gpus(3);
  const Fault fault("refuses");
  const auto errors = in_ranks_with_nccl(3, [&](ProcessGroup& group, Device device) {
    group.all_reduce(late_numbers(group.rank(), {8}, kFloat32, device)).wait();
    call_until_it_fails(group);
  });
  for (const std::string& error : errors)
    CHECK(error == "rank 1 on this host: an NCCL collective failed: unhandled system error");
}

TEST_CASE("what NCCL reports from a GPU reaches all ranks") {
  const Gpus gpus(2);
  const Fault fault("broken");
  const auto errors = in_ranks_with_nccl(2, [&](ProcessGroup& group, Device device) {
    const Tensor x = late_numbers(group.rank(), {8}, kFloat32, device);
    group.broadcast(x, 0, "weights").wait();
    call_until_it_fails(group);
  });
  for (const std::string& error : errors)
    CHECK_THAT(error, Catch::Contains("of 8 f32 (weights) failed on the GPU of rank") &&
                          Catch::Contains("unhandled system error"));
}

TEST_CASE("a rank that calls another collective is named before any GPU waits for it") {
  const Gpus gpus(2);
  const auto errors = in_ranks_with_nccl(2, [&](ProcessGroup& group, Device device) {
    group.all_reduce(late_numbers(0, {group.rank() == 1 ? 5 : 4}, kFloat32, device)).wait();
  });
  for (const std::string& error : errors) CHECK_THAT(error, Catch::Contains("of 5 f32 while rank 0 calls"));
}

TEST_CASE("NCCL is not used where it cannot be, and all ranks hear why") {
  const Gpus gpus(2);
  std::vector<std::string> same(2), missing(2);
  const auto errors = in_ranks(2, [&](ProcessGroup& group) {
    const auto rank = size_t(group.rank());
    same[rank] = use_nccl(group, 0, {TAPER_FAKE_NCCL});
    missing[rank] = use_nccl(group, int(rank), {rank == 0 ? TAPER_FAKE_NCCL : "libno-such-nccl.so"});
    const Tensor x = late_numbers(group.rank(), {8}, kFloat32, Device(kCUDA, int(rank)));
    group.all_reduce(x).wait();
    expect(ops::to_vector<double>(x) == std::vector<double>(8, 3), "sums through host memory");
  });
  CHECK(errors == std::vector<std::string>(2));
  CHECK(same[0] == "ranks 0 and 1 use one GPU, this host 0");
  CHECK(same[1] == same[0]);
  CHECK_THAT(missing[0], Catch::StartsWith("rank 1 has no NCCL: libno-such-nccl.so"));
  CHECK(missing[1] == missing[0]);
  const Fault fault("unwilling");
  for (const std::string& error : in_ranks_with_nccl(2, [](ProcessGroup&, Device) {}))
    CHECK(error == "ncclCommInitRank failed: unhandled system error");
}
