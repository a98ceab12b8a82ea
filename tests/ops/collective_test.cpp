// Collectives: among threads, and one rank of MPI's in a process of its own (tests/cli/ranks_test.py has several).

#include <catch2/catch.hpp>

#include "taper/autograd/functions.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/collective/local_group.h"
#include "taper/ops/collective/nccl_collectives.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "tests/support/ranks.h"

using namespace taper;

namespace {

const std::vector<std::string> kNoErrors(4);

}  // namespace

TEST_CASE("all_reduce adds, averages and finds the largest in every dtype it takes") {
  for (const Device device : {Device(kCPU), Device(kCUDA)}) {
    if (device.is_cuda() && gpu::device_count() == 0) continue;
    for (const DType dtype : {kFloat32, kFloat64, kFloat16, kBFloat16, kInt32, kInt64}) {
      CAPTURE(device, dtype);
      std::vector<std::vector<double>> sums(4), means(4), largest(4);
      const auto errors = in_ranks(4, [&](ProcessGroup& group) {
        const auto rank = size_t(group.rank());
        const auto numbers = [&] {
          return ops::to_device(ops::arange(double(rank), double(rank) + 1000, 1, {.dtype = dtype}), device);
        };
        Tensor x = numbers();
        group.all_reduce(x).wait();
        sums[rank] = ops::to_vector<double>(x);
        x = numbers();
        group.all_reduce(x, ReduceOp::kMax).wait();
        largest[rank] = ops::to_vector<double>(x);
        if (is_integral(dtype)) return;
        x = numbers();
        group.all_reduce(x, ReduceOp::kMean).wait();
        means[rank] = ops::to_vector<double>(x);
      });
      CHECK(errors == kNoErrors);
      for (size_t rank = 0; rank < 4; ++rank) {
        REQUIRE(sums[rank].size() == 1000);
        CHECK(sums[rank][10] == 46);
        CHECK(largest[rank][10] == 13);
        if (is_floating_point(dtype)) CHECK(means[rank][10] == 11.5);
        CHECK(sums[rank] == sums[0]);
      }
    }
  }
}

TEST_CASE("f16 is added in f32: the sum may pass through numbers that f16 lacks") {
  const auto errors = in_ranks(4, [&](ProcessGroup& group) {
    const Tensor x = ops::full({3}, group.rank() < 2 ? 60000 : -60000, {.dtype = kFloat16});
    group.all_reduce(x).wait();
    expect(ops::to_vector<double>(x) == std::vector<double>{0, 0, 0}, "sum");
  });
  CHECK(errors == kNoErrors);
}

TEST_CASE("broadcast and gather_texts bring what a rank has to all") {
  const auto errors = in_ranks(4, [&](ProcessGroup& group) {
    const Tensor x = ops::full({2, 3}, group.rank(), {.dtype = kUInt8});
    group.broadcast(x, 2).wait();
    expect(ops::to_vector<int64_t>(x) == std::vector<int64_t>(6, 2), "rank 2's numbers");
    const std::vector<std::string> texts =
        group.gather_texts(std::string(size_t(group.rank()) * 3, char('a' + group.rank())));
    expect(texts == std::vector<std::string>{"", "bbb", "cccccc", "ddddddddd"}, "texts");
    group.barrier();
    expect(group.statistics().calls == 4, "a broadcast, lengths and texts, and lengths");
  });
  CHECK(errors == kNoErrors);
}

TEST_CASE("collectives run in the order of their calls while the caller goes on") {
  const auto errors = in_ranks(3, [&](ProcessGroup& group) {
    std::vector<Tensor> tensors;
    std::vector<Collective> under_way;
    for (int i = 0; i < 50; ++i) {
      tensors.push_back(ops::full({100}, i + group.rank()));
      under_way.push_back(group.all_reduce(tensors.back()));
    }
    for (size_t i = 50; i-- > 0;) {
      under_way[i].wait();
      expect(ops::to_vector<double>(tensors[i])[99] == 3 * double(i) + 3, "sum");
    }
  });
  CHECK(errors == std::vector<std::string>(3));
}

TEST_CASE("a rank that calls another collective is named on all ranks") {
  const auto errors = in_ranks(3, [&](ProcessGroup& group) {
    const Tensor x = ops::zeros({group.rank() == 1 ? 5 : 4});
    group.all_reduce(x, ReduceOp::kSum, "gradients 7").wait();
  });
  for (const std::string& error : errors)
    CHECK(error ==
          "rank 1 on this host calls all-reduce 1 of 5 f32 (gradients 7) while rank 0 calls all-reduce 1 of "
          "4 f32 "
          "(gradients 7)");
}

TEST_CASE("labels may be longer than what travels of them") {
  const auto errors = in_ranks(3, [](ProcessGroup& group) {
    const Tensor x = ops::ones({4});
    group.all_reduce(x, ReduceOp::kSum, std::string(300, 'l')).wait();
    expect(ops::to_vector<double>(x) == std::vector<double>(4, 3), "sum");
  });
  CHECK(errors == std::vector<std::string>(3));
}

TEST_CASE("a rank that does not come is named on all others, which can call nothing more") {
  const auto errors = in_ranks(
      3,
      [&](ProcessGroup& group) {
        if (group.rank() == 2) return;
        const Tensor x = ops::zeros({4});
        expect(error_of([&] {
                 group.all_reduce(x).wait();
               }).starts_with("rank 2 on an unknown host did not come"),
               "the rank's name");
        group.all_reduce(x).wait();
      },
      CollectiveTimeout(0.2));
  CHECK(errors[0] == "rank 2 on an unknown host did not come to all-reduce 1 of 4 f32 within 0.2 s");
  CHECK(errors[1] == errors[0]);
  CHECK(errors[2].empty());
}

TEST_CASE("collectives refuse what they cannot carry") {
  const auto groups = make_local_groups(1);
  ProcessGroup& group = *groups[0];
  CHECK_THROWS_WITH(group.all_reduce(ops::zeros({2}, {.dtype = kInt64}), ReduceOp::kMean),
                    Catch::Contains("cannot take the mean of i64"));
  CHECK_THROWS_WITH(group.all_reduce(ops::zeros({2}, {.dtype = kBool})), Catch::Contains("of bool"));
  CHECK_THROWS_WITH(group.all_reduce(ops::zeros({4, 4}).slice(1, 0, 2)), Catch::Contains("must be dense"));
  CHECK_THROWS_WITH(group.broadcast(ops::zeros({2}), 1), Catch::Contains("no rank 1 among 1"));
}

TEST_CASE("NCCL carries the collectives of real GPUs, a rank each") {
  if (gpu::is_simulated() || gpu::device_count() == 0) return;
  const int ranks = std::min(gpu::device_count(), 4);
  std::string refusal;
  const auto errors = in_ranks(ranks, [&](ProcessGroup& group) {
    const gpu::DeviceGuard guard(group.rank());
    const std::string why_not = use_nccl(group, group.rank());
    if (group.rank() == 0) refusal = why_not;
    if (!why_not.empty()) return;
    const Device device(kCUDA, group.rank());
    const int n = group.size();
    const Tensor sum = ops::full({1000}, group.rank() + 1, {.device = device});
    Collective summing = group.all_reduce(sum);
    const Tensor mean = ops::full({10}, group.rank() + 1, {.dtype = kBFloat16, .device = device});
    Collective averaging = group.all_reduce(mean, ReduceOp::kMean);
    const Tensor rows = ops::full({n, 3}, group.rank(), {.device = device});
    Collective gathering = group.all_gather(rows);
    const Tensor parts = ops::ones({n, 5}, {.device = device});
    Collective scattering = group.reduce_scatter(parts);
    const Tensor root = ops::full({4}, group.rank(), {.dtype = kInt64, .device = device});
    Collective spreading = group.broadcast(root, n - 1);
    for (Collective* one : {&summing, &averaging, &gathering, &scattering, &spreading}) one->wait();
    expect(ops::to_vector<double>(sum) == std::vector<double>(1000, n * (n + 1) / 2.0), "sum");
    expect(ops::to_vector<double>(mean) == std::vector<double>(10, (n + 1) / 2.0), "mean");
    for (int row = 0; row < n; ++row)
      expect(ops::to_vector<double>(rows.select(0, row)) == std::vector<double>(3, row), "rows");
    expect(ops::to_vector<double>(parts.select(0, group.rank())) == std::vector<double>(5, n), "own part");
    expect(ops::to_vector<double>(root) == std::vector<double>(4, n - 1), "root's");
  });
  CHECK(errors == std::vector<std::string>(size_t(ranks)));
  if (!refusal.empty()) WARN(refusal);
}
