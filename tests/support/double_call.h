#pragma once
// A small op for tests of the algorithm cache.

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "taper/ops/algorithms/algorithm_cache.h"
#include "test_tensors.h"

namespace taper {

/// y = 2 x.
struct DoubleCall {
  Tensor x, y;
  Problem problem() const { return Problem("double", "forward", y.device()).add("x", x).add("y", y); }
  std::vector<Tensor*> outputs() { return {&y}; }
};

inline DoubleCall double_call(int64_t size = 64) {
  return {random_tensor({size}, kFloat32), empty({size})};
}

inline void write_doubled(const DoubleCall& call, float factor = 2) {
  for (int64_t i = 0; i < call.x.numel(); ++i) call.y.data<float>()[i] = factor * call.x.data<float>()[i];
}

/// What a test's candidates do: how long each takes, how often each ran.
struct Candidates {
  std::atomic<int> listed{0}, slow_runs{0}, fast_runs{0}, third_runs{0};
  std::vector<Algorithm> more;

  /// "slow" is expected to be the fastest.
  std::vector<Algorithm> operator()(const DoubleCall&) {
    ++listed;
    std::vector<Algorithm> list = {{.name = "slow",
                                    .rank = 1,
                                    .run =
                                        [this](const DoubleCall& call, void*) {
                                          ++slow_runs;
                                          std::this_thread::sleep_for(std::chrono::milliseconds(2));
                                          write_doubled(call);
                                        }},
                                   {.name = "fast", .rank = 2, .run = [this](const DoubleCall& call, void*) {
                                      ++fast_runs;
                                      write_doubled(call);
                                    }}};
    list.insert(list.end(), more.begin(), more.end());
    return list;
  }
};

inline auto by_reference(Candidates& candidates) {
  return [&candidates](const DoubleCall& call) { return candidates(call); };
}

inline bool is_doubled(const DoubleCall& call) {
  for (int64_t i = 0; i < call.x.numel(); ++i)
    if (call.y.data<float>()[i] != 2 * call.x.data<float>()[i]) return false;
  return true;
}

inline std::string winner(const AlgorithmCache& cache) {
  REQUIRE(cache.decisions().size() == 1);
  return cache.decisions()[0].winner;
}

}  // namespace taper
