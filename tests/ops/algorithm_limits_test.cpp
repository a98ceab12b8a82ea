// Benchmark mode within a time, plans made ready on several threads, and candidates that nobody wants.

#include <condition_variable>
#include <mutex>

#include "double_call.h"
#include "taper/core/base/error.h"
#include "taper/core/base/parallel.h"
#include "temporary_folder.h"

using namespace taper;

namespace {

Algorithm doubling(const std::string& name, double cost, double seconds = 0) {
  return {.name = name, .rank = cost, .run = [seconds](const DoubleCall& call, void*) {
            std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
            write_doubled(call);
          }};
}

using List = std::vector<Algorithm>;

void run(AlgorithmCache& cache, const List& list, int64_t size = 64) {
  const DoubleCall call = double_call(size);
  cache.run(call, [&](const DoubleCall&) { return list; });
  CHECK(is_doubled(call));
}

const AlgorithmTiming& timing_of(const AlgorithmRecord& record, const std::string& name) {
  for (const AlgorithmTiming& timing : record.candidates)
    if (timing.name == name) return timing;
  FAIL(name << " is not in the record");
  std::abort();
}

/// "quick" would win, but "slow" is expected to be faster and takes longer than all that is allowed.
const List kSlowFirst = {doubling("slow", 1, 0.02), doubling("quick", 2)};
constexpr BenchmarkLimits kShort = {.seconds_per_problem = 0.01};

}  // namespace

TEST_CASE("when a problem's time is over, the candidates not yet tried are left out") {
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.set_benchmark_limits(kShort);
  run(cache, kSlowFirst);
  const AlgorithmRecord record = cache.decisions()[0];
  CHECK(record.winner == "slow");
  CHECK(timing_of(record, "slow").median_ms >= 20);
  CHECK_FALSE(timing_of(record, "slow").left_out);
  CHECK(timing_of(record, "quick").left_out);
  CHECK(timing_of(record, "quick").median_ms == 0);
  CHECK(record.seconds_allowed == kShort.seconds_per_problem);
  CHECK(cache.statistics().left_out == 1);
  CHECK(cache.statistics().benchmarked == 1);
}

TEST_CASE("what was left out is measured once more time is allowed, not before") {
  const TemporaryFolder folder;
  const auto run_process = [&](const BenchmarkLimits& limits) {
    AlgorithmCache cache;
    cache.set_file(folder / "algorithms.json");
    cache.set_mode(AlgorithmMode::kBenchmark);
    cache.set_benchmark_limits(limits);
    run(cache, kSlowFirst);
    return std::pair(cache.decisions()[0].winner, cache.statistics().benchmarked);
  };
  CHECK(run_process(kShort) == std::pair(std::string("slow"), int64_t(1)));
  CHECK(run_process(kShort) == std::pair(std::string("slow"), int64_t(0)));
  CHECK(run_process({}) == std::pair(std::string("quick"), int64_t(1)));
  CHECK(run_process(kShort) == std::pair(std::string("quick"), int64_t(0)));  // complete now
}

TEST_CASE("when the whole time is over, the estimates decide, and another process measures") {
  const TemporaryFolder folder;
  AlgorithmCache cache;
  cache.set_file(folder / "algorithms.json");
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.set_benchmark_limits({.seconds_in_all = 0.01});
  run(cache, kSlowFirst, 64);
  run(cache, kSlowFirst, 65);
  run(cache, kSlowFirst, 65);
  CHECK(cache.statistics().benchmarked == 1);
  CHECK(cache.statistics().unmeasured == 1);
  CHECK(cache.statistics().hits == 1);
  for (const AlgorithmRecord& record : cache.decisions()) CHECK(record.winner == "slow");
  CHECK(AlgorithmFile(folder / "algorithms.json").read().size() == 1);

  cache.set_benchmark_limits({});
  run(cache, kSlowFirst, 66);
  CHECK(cache.statistics().benchmarked == 2);
  CHECK_THROWS_WITH(cache.set_benchmark_limits({.seconds_in_all = 0}), Catch::Contains("must be positive"));
}

TEST_CASE("what takes long to make ready is made ready before anything runs, several at once") {
  const ThreadsGuard threads(2);
  std::mutex mutex;
  std::condition_variable both;
  int inside = 0, ready = 0, runs_before_ready = 0;
  const auto prepare = [&] {
    std::unique_lock lock(mutex);
    ++inside;
    both.notify_all();
    CHECK(both.wait_for(lock, std::chrono::seconds(30), [&] { return inside == 2; }));
    ++ready;
  };
  const auto run_ready = [&](const DoubleCall& call, void*) {
    runs_before_ready += ready < 2;
    write_doubled(call);
  };
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  run(cache, {{.name = "a", .rank = 1, .run = run_ready, .prepare = prepare},
              {.name = "b", .rank = 2, .run = run_ready, .prepare = prepare},
              {.name = "c", .rank = 3, .run = run_ready}});
  CHECK(ready == 2);
  CHECK(runs_before_ready == 0);
}

TEST_CASE("a candidate that cannot be made ready, or not in time, does not run") {
  const ThreadsGuard threads(1);  // one after another
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.set_benchmark_limits(kShort);
  const auto never = [](const DoubleCall&, void*) { FAIL("it runs"); };
  run(cache, {{.name = "refused",
               .rank = 1,
               .run = never,
               .prepare =
                   [] {
                     std::this_thread::sleep_for(std::chrono::milliseconds(20));
                     fail<AlgorithmFailed>("not on this device");
                   }},
              {.name = "too late", .rank = 2, .run = never, .prepare = [] { FAIL("it is made ready"); }},
              doubling("plain", 3)});
  const AlgorithmRecord record = cache.decisions()[0];
  CHECK(record.winner == "plain");
  CHECK(timing_of(record, "refused").rejected == "not on this device");
  CHECK(timing_of(record, "too late").left_out);
}

TEST_CASE("denied candidates are not considered, in any mode") {
  const AlgorithmMode mode =
      GENERATE(AlgorithmMode::kHeuristic, AlgorithmMode::kBenchmark, AlgorithmMode::kDeterministic);
  AlgorithmCache cache;
  cache.set_mode(mode);
  cache.set_denied({"vendor 9.", "other"});
  const List list = {doubling("vendor 9.1 engine 3", 1), doubling("vendor 8.0", 2),
                     doubling("own", 3, 0.002)};
  run(cache, list);
  CHECK(winner(cache) == "vendor 8.0");
  cache.set_denied({"vendor", "own"});
  CHECK_THROWS_WITH(run(cache, list, 65), Catch::Contains("no algorithm can compute this") &&
                                              Catch::Contains("own: is denied (\"own\")"));
}
