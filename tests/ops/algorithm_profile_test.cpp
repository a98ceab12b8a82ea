// Profiles show which algorithm ran, what measuring took, and how often the cache had the answer.

#include <fstream>
#include <nlohmann/json.hpp>

#include "taper/core/profiler.h"
#include "taper/nn/report/chrome_trace.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/matmul/matmul.h"
#include "temporary_folder.h"
#include "test_tensors.h"

using namespace taper;

namespace {

/// The spans called `name`, and of that kind.
std::vector<const ProfileSpan*> find(const Profile& profile, SpanKind kind, const std::string& name) {
  std::vector<const ProfileSpan*> found;
  for (const ProfileSpan& span : profile.spans)
    if (span.kind == kind && span.name == name) found.push_back(&span);
  return found;
}

bool lies_in(const ProfileSpan& inner, const ProfileSpan& outer) {
  return inner.thread == outer.thread && inner.begin_ns >= outer.begin_ns && inner.end_ns <= outer.end_ns &&
         inner.depth > outer.depth;
}

}  // namespace

TEST_CASE("a profile shows the algorithm inside its op, and counts hits and misses") {
  const Tensor a = random_tensor({3, 71}, kFloat32), b = random_tensor({71, 5}, kFloat32);
  const AlgorithmStatistics before = algorithm_cache().statistics();
  Profiler profiler;
  for (int i = 0; i < 4; ++i) ops::matmul(a, b);
  const Profile profile = profiler.stop();
  const AlgorithmStatistics statistics = algorithm_cache().statistics().since(before);
  CHECK(statistics.misses == 1);
  CHECK(statistics.hits == 3);
  CHECK(statistics.benchmarked == 0);
  const auto ops = find(profile, SpanKind::kOp, "matmul"),
             algorithms = find(profile, SpanKind::kAlgorithm, "packed");
  REQUIRE(ops.size() == 4);
  REQUIRE(algorithms.size() == 4);
  for (size_t i = 0; i < 4; ++i) CHECK(lies_in(*algorithms[i], *ops[i]));
  // Allocations inside still belong to the op.
  for (const MemorySample& sample : profile.memory) CHECK(sample.op != "packed");

  const TemporaryFolder folder;
  write_chrome_trace(folder / "trace.json", profile, {.algorithms = statistics});
  std::ifstream file(folder / "trace.json");
  const auto trace = nlohmann::json::parse(file);
  CHECK(trace["otherData"]["algorithms"]["hits"] == 3);
  CHECK(trace["otherData"]["algorithms"]["misses"] == 1);
  int bars = 0;
  for (const auto& event : trace["traceEvents"]) bars += event.value("cat", "") == "algorithm";
  CHECK(bars == 4);
}

TEST_CASE("a profile shows what was measured") {
  struct Call {
    Tensor y;
    Problem problem() const { return Problem("fill", "forward", y.device()).add("y", y); }
    std::vector<Tensor*> outputs() { return {&y}; }
  };
  const auto candidates = [](const Call&) {
    const auto run = [](const Call& call, void*) { call.y.data<float>()[0] = 1; };
    return std::vector<Algorithm>{{.name = "one", .run = run}, {.name = "two", .run = run}};
  };
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  Profiler profiler;
  cache.run(Call{empty({1})}, candidates);
  const Profile profile = profiler.stop();
  const auto measuring = find(profile, SpanKind::kOp, "algorithm_cache");
  REQUIRE(measuring.size() == 1);
  int runs = 0;
  for (const char* name : {"one", "two"})
    for (const ProfileSpan* span : find(profile, SpanKind::kAlgorithm, name))
      runs += lies_in(*span, *measuring[0]);
  CHECK(runs >= 2 * (1 + 7));
}
