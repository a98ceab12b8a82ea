// Which candidate is chosen, when it is measured, what is remembered, and what cannot be chosen.

#include "taper/ops/algorithms/algorithm_cache.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "double_call.h"
#include "taper/core/base/parallel.h"
#include "warnings.h"

using namespace taper;

TEST_CASE("problems are equal when everything that counts is") {
  const Tensor x = empty({2, 3, 4, 5}), nhwc = empty({2, 3, 4, 5}, {.memory_format = kChannelsLast});
  const auto base = [&] { return Problem("conv2d", "forward", {}).add("x", x).add("stride", {2, 2}); };
  CHECK(base() == base());
  CHECK(base().hash() == base().hash());
  const std::vector<Problem> others = {
      Problem("conv2d", "backward", {}).add("x", x).add("stride", {2, 2}),
      Problem("conv1d", "forward", {}).add("x", x).add("stride", {2, 2}),
      Problem("conv2d", "forward", {}).add("y", x).add("stride", {2, 2}),
      Problem("conv2d", "forward", {}).add("x", nhwc).add("stride", {2, 2}),
      Problem("conv2d", "forward", {}).add("x", empty({2, 3, 4, 5}, {.dtype = kInt32})).add("stride", {2, 2}),
      Problem("conv2d", "forward", {}).add("x", empty({2, 3, 5, 4})).add("stride", {2, 2}),
      Problem("conv2d", "forward", {}).add("x", Tensor()).add("stride", {2, 2}),
      Problem("conv2d", "forward", {}).add("x", x).add("stride", {2, 1}),
      Problem("conv2d", "forward", {}).add("x", x).add("stride", {2}),
      Problem("conv2d", "forward", {}).add("x", x).add("stride", kFloat32),
      Problem("conv2d", "forward", {}).add("x", x).add("stride", "two"),
      Problem("conv2d", "forward", {}).add("x", x),
      Problem("conv2d", "forward", Device(kCUDA, 0)).add("x", x).add("stride", {2, 2})};
  for (const Problem& other : others) {
    CHECK_FALSE(base() == other);
    CHECK(base().hash() != other.hash());
  }
}

TEST_CASE("the number of threads is part of a problem on the CPU") {
  const auto with_threads = [](int count) {
    const ThreadsGuard threads(count);
    return Problem("gemm", "forward", {});
  };
  CHECK(with_threads(2) == with_threads(2));
  CHECK_FALSE(with_threads(2) == with_threads(3));
  CHECK(with_threads(3).environment().find("3 threads") != std::string::npos);
}

TEST_CASE("a problem as text") {
  const Tensor x = empty({2, 3, 4, 5}), weight = empty({2, 3, 4, 5}, {.memory_format = kChannelsLast});
  const Tensor odd = empty_strided({2, 3}, {7, 2}, kBFloat16);
  CHECK(Problem("conv2d", "forward", {})
            .add("x", x)
            .add("weight", weight)
            .add("bias", Tensor())
            .add("odd", odd)
            .add("stride", {2, -1})
            .add("compute", kFloat64)
            .add("epilogue", "relu")
            .str() ==
        "conv2d forward x=f32[2,3,4,5] weight=f32[2,3,4,5]:channels_last bias=none "
        "odd=bf16[2,3]:strides(7,2) stride=2,-1 compute=f64 epilogue=relu");
}

TEST_CASE("a problem that is too long is an error") {
  const Tensor x = empty({1, 1, 1, 1, 1, 1, 1, 1});
  Problem problem("einsum", "forward", {});
  for (int i = 0; i < 5; ++i) problem.add("x", x);
  CHECK_THROWS_WITH(problem.add("x", x), Catch::Contains("einsum") && Catch::Contains("96 words"));
}

TEST_CASE("heuristic mode takes the candidate of least cost and times nothing") {
  AlgorithmCache cache;
  Candidates candidates;
  for (int i = 0; i < 3; ++i) {
    const DoubleCall call = double_call();
    cache.run(call, by_reference(candidates));
    CHECK(is_doubled(call));
  }
  CHECK(candidates.slow_runs == 3);
  CHECK(candidates.fast_runs == 0);
  CHECK(candidates.listed == 1);
  CHECK(winner(cache) == "slow");
  CHECK(cache.decisions()[0].candidates[0].median_ms == 0);
  CHECK(cache.statistics().hits == 2);
  CHECK(cache.statistics().misses == 1);
  CHECK(cache.statistics().benchmarked == 0);
}

TEST_CASE("benchmark mode takes the fastest and measures a problem once") {
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  Candidates candidates;
  const DoubleCall call = double_call();
  cache.run(call, by_reference(candidates));
  CHECK(is_doubled(call));
  CHECK(winner(cache) == "fast");
  const AlgorithmRecord record = cache.decisions()[0];
  REQUIRE(record.candidates.size() == 2);
  CHECK(record.candidates[0].name == "slow");
  CHECK(record.candidates[0].median_ms >= 2);
  CHECK(record.candidates[1].median_ms > 0);
  CHECK(record.candidates[1].median_ms < 2);
  CHECK(cache.statistics().benchmark_seconds > 0.002);

  const int slow_runs = candidates.slow_runs, fast_runs = candidates.fast_runs;
  cache.run(double_call(), by_reference(candidates));
  CHECK(candidates.slow_runs == slow_runs);
  CHECK(candidates.fast_runs == fast_runs + 1);
  CHECK(cache.statistics().hits == 1);
  CHECK(cache.statistics().benchmarked == 1);
  cache.run(double_call(65), by_reference(candidates));
  CHECK(cache.statistics().benchmarked == 2);
}

TEST_CASE("measuring leaves the outputs alone") {
  // y += x: run more than once on the real output, it would show.
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.set_verify(true);
  const auto add = [](const DoubleCall& call, void*) {
    for (int64_t i = 0; i < call.x.numel(); ++i) call.y.data<float>()[2 * i] += call.x.data<float>()[i];
  };
  const Tensor y = empty_strided({3}, {2});  // with gaps
  std::fill(y.data<float>(), y.data<float>() + 5, 10.f);
  cache.run(DoubleCall{from_vector<float>({1, 2, 3}), y}, [&](const DoubleCall&) {
    return std::vector<Algorithm>{{.name = "a", .run = add}, {.name = "b", .run = add}};
  });
  CHECK(std::vector<float>(y.data<float>(), y.data<float>() + 5) == std::vector<float>{11, 10, 12, 10, 13});
  CHECK(cache.statistics().benchmarked == 1);
  CHECK(cache.statistics().rejected == 0);
}

TEST_CASE("equally fast candidates: the one that was expected to be the fastest") {
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  const auto sleep = [](const DoubleCall& call, void*) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    write_doubled(call);
  };
  cache.run(double_call(), [&](const DoubleCall&) {
    return std::vector<Algorithm>{{.name = "second", .rank = 2, .run = sleep},
                                  {.name = "first", .rank = 1, .run = sleep},
                                  {.name = "third", .rank = 3, .run = sleep}};
  });
  CHECK(winner(cache) == "first");
}

TEST_CASE("deterministic mode never measures and leaves out what is not deterministic") {
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kDeterministic);
  Candidates candidates;
  candidates.more = {
      {.name = "atomics", .deterministic = false, .rank = 0, .run = [](const DoubleCall&, void*) {}}};
  const DoubleCall call = double_call();
  cache.run(call, by_reference(candidates));
  CHECK(is_doubled(call));
  CHECK(winner(cache) == "slow");
  CHECK(candidates.slow_runs == 1);
  CHECK(candidates.fast_runs == 0);

  const auto none = [](const DoubleCall&) {
    return std::vector<Algorithm>{{.name = "atomics", .deterministic = false, .run = {}},
                                  {.name = "tiny", .supported = false, .run = {}},
                                  {.name = "huge", .workspace_bytes = size_t(2) << 30, .run = {}}};
  };
  CHECK_THROWS_WITH(cache.run(double_call(7), none), Catch::Contains("double forward x=f32[7]") &&
                                                         Catch::Contains("atomics: is not deterministic") &&
                                                         Catch::Contains("tiny: does not support it") &&
                                                         Catch::Contains("huge: needs 2147483648 bytes"));
}

TEST_CASE("changing the mode forgets choices but not measurements") {
  AlgorithmCache cache;
  Candidates candidates;
  cache.run(double_call(), by_reference(candidates));
  CHECK(winner(cache) == "slow");
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.run(double_call(), by_reference(candidates));
  CHECK(winner(cache) == "fast");
  cache.set_mode(AlgorithmMode::kHeuristic);
  cache.run(double_call(), by_reference(candidates));
  CHECK(winner(cache) == "slow");
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.run(double_call(), by_reference(candidates));
  CHECK(winner(cache) == "fast");
  CHECK(cache.statistics().benchmarked == 1);
  CHECK(cache.statistics().recalled == 1);
}

TEST_CASE("a workspace has the size asked for, and a limit") {
  AlgorithmCache cache;
  for (const AlgorithmMode mode : {AlgorithmMode::kHeuristic, AlgorithmMode::kBenchmark}) {
    cache.set_mode(mode);
    Candidates candidates;
    candidates.more = {{.name = "workspace",
                        .workspace_bytes = 1000,
                        .rank = -1,
                        .run = [](const DoubleCall& call, void* workspace) {
                          REQUIRE(workspace != nullptr);
                          std::memset(workspace, 1, 1000);
                          write_doubled(call);
                        }}};
    cache.set_workspace_limit(1000);
    cache.run(double_call(), by_reference(candidates));
    CHECK(cache.decisions()[0].candidates[0].name == "workspace");
    CHECK(cache.decisions()[0].candidates[0].rejected.empty());
    cache.clear();
    cache.set_workspace_limit(999);
    cache.run(double_call(), by_reference(candidates));
    CHECK(cache.decisions()[0].candidates[0].name == "slow");
    cache.clear();
  }
}

TEST_CASE("a candidate that runs out of memory, or fails, is out of the race") {
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  Candidates candidates;
  candidates.more = {
      {.name = "huge", .rank = 0, .run = [](const DoubleCall&, void*) { empty({int64_t(1) << 55}); }},
      {.name = "broken", .rank = 0, .run = [](const DoubleCall&, void*) { fail("plan failed"); }}};
  const DoubleCall call = double_call();
  cache.run(call, by_reference(candidates));
  CHECK(is_doubled(call));
  CHECK(winner(cache) == "fast");
  const auto timings = cache.decisions()[0].candidates;
  REQUIRE(timings.size() == 4);
  CHECK(timings[0].rejected == "out of memory");
  CHECK(timings[0].median_ms == 0);
  CHECK(timings[1].rejected == "plan failed");
}

TEST_CASE("no memory for the workspace: the next candidate") {
  for (const AlgorithmMode mode : {AlgorithmMode::kHeuristic, AlgorithmMode::kBenchmark}) {
    AlgorithmCache cache;
    cache.set_mode(mode);
    cache.set_workspace_limit(SIZE_MAX);
    Candidates candidates;
    candidates.more = {
        {.name = "huge", .workspace_bytes = size_t(1) << 60, .rank = 0, .run = [](const DoubleCall&, void*) {
         }}};
    const DoubleCall call = double_call();
    cache.run(call, by_reference(candidates));
    CHECK(is_doubled(call));
    CHECK(cache.statistics().fallbacks == (mode == AlgorithmMode::kHeuristic ? 1 : 0));
  }
}

TEST_CASE("a candidate that fails when it is asked to compute is rejected, and the next one computes") {
  for (const AlgorithmMode mode : {AlgorithmMode::kHeuristic, AlgorithmMode::kDeterministic}) {
    AlgorithmCache cache;
    cache.set_mode(mode);
    Candidates candidates;
    int tries = 0;
    candidates.more = {{.name = "refused", .rank = 0, .run = [&](const DoubleCall&, void*) {
                          ++tries;
                          fail<AlgorithmFailed>("not supported");
                        }}};
    const DoubleCall call = double_call();
    const Warnings warnings;
    for (int i = 0; i < 3; ++i) cache.run(call, by_reference(candidates));
    CHECK(is_doubled(call));
    CHECK(tries == 1);
    CHECK(candidates.listed == 1);
    CHECK(candidates.slow_runs == 3);
    CHECK(cache.statistics().rejected == 1);
    CHECK(winner(cache) == "slow");
    CHECK(cache.decisions()[0].candidates[0].rejected == "not supported");
    REQUIRE(warnings.texts.size() == 1);
    CHECK(warnings.texts[0] == "double forward x=f32[64] y=f32[64]: refused is rejected: not supported");
  }
  AlgorithmCache cache;
  const auto one = [](const DoubleCall&) {
    return std::vector<Algorithm>{
        {.name = "only", .run = [](const DoubleCall&, void*) { fail<AlgorithmFailed>("not supported"); }}};
  };
  CHECK_THROWS_WITH(cache.run(double_call(), one), "not supported");
}

TEST_CASE("the alignment that addresses have in common") {
  const auto at = [](uintptr_t address) { return reinterpret_cast<const void*>(address); };
  CHECK(common_alignment({}) == 256);
  CHECK(common_alignment({nullptr}) == 256);
  CHECK(common_alignment({at(4096), at(512)}) == 256);
  CHECK(common_alignment({at(4096), nullptr, at(4096 + 16)}) == 16);
  CHECK(common_alignment({at(4096 + 16), at(4096 + 2)}) == 2);
  CHECK(common_alignment({at(1)}) == 1);
}

TEST_CASE("two threads with the same new problem measure it once") {
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  Candidates candidates;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int64_t size = 10; size < 14; ++size) {
        const DoubleCall call = double_call(size);
        cache.run(call, by_reference(candidates));
        if (!is_doubled(call)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(cache.statistics().benchmarked == 4);
  CHECK(cache.statistics().misses == 4);
}

TEST_CASE("inside a parallel loop nothing is measured, and nothing waits for itself") {
  const ThreadsGuard guard(3);
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  Candidates inner;
  // A candidate whose threads choose, too.
  const auto outer = [&](const DoubleCall&) {
    const auto run = [&](const DoubleCall& call, void*) {
      parallel_chunks(8, [&](int64_t chunk) { cache.run(double_call(100 + chunk), by_reference(inner)); });
      write_doubled(call);
    };
    return std::vector<Algorithm>{{.name = "a", .run = run}, {.name = "b", .run = run}};
  };
  const DoubleCall call = double_call();
  cache.run(call, outer);
  CHECK(is_doubled(call));
  CHECK(cache.statistics().benchmarked == 1);
  CHECK(inner.fast_runs == 0);
  cache.run(double_call(100), by_reference(inner));
  CHECK(cache.statistics().benchmarked == 2);
  CHECK(inner.fast_runs > 0);
}

TEST_CASE("a candidate made of ops that choose") {
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  Candidates inner;
  cache.run(double_call(), [&](const DoubleCall&) {
    const auto run = [&](const DoubleCall& call, void*) {
      cache.run(DoubleCall{call.x, empty_strided({64}, {2})}, [&](const DoubleCall&) {
        return std::vector<Algorithm>{{.name = "c", .run = [](const DoubleCall&, void*) {}},
                                      {.name = "d", .run = [](const DoubleCall&, void*) {}}};
      });
      write_doubled(call);
    };
    return std::vector<Algorithm>{{.name = "a", .run = run}, {.name = "b", .run = run}};
  });
  CHECK(cache.statistics().benchmarked == 2);
}

TEST_CASE("one problem for two types of calls is an error, and so are equal names") {
  struct OtherCall {
    Tensor y;
    Problem problem() const { return Problem("double", "forward", {}).add("x", y).add("y", y); }
    std::vector<Tensor*> outputs() { return {&y}; }
  };
  AlgorithmCache cache;
  Candidates candidates;
  cache.run(double_call(), by_reference(candidates));
  CHECK_THROWS_WITH(
      cache.run(OtherCall{empty({64})}, [](const OtherCall&) { return std::vector<Algorithm>(); }),
      Catch::Contains("two types of calls"));
  candidates.more = {{.name = "fast", .run = {}}};
  CHECK_THROWS_WITH(cache.run(double_call(5), by_reference(candidates)),
                    Catch::Contains("two candidates are called fast"));
  candidates.more = {{.name = "other", .run = [](const OtherCall&, void*) {}}};
  CHECK_THROWS_WITH(cache.run(double_call(5), by_reference(candidates)),
                    Catch::Contains("other computes calls of another type"));
}
