// A call whose algorithm is already chosen allocates nothing on the way to it.

#include <cstdio>
#include <cstdlib>
#include <new>

#include "taper/core/algorithm_cache.h"

namespace {
thread_local int64_t allocations = 0;
}

// Not inlined: GCC would take malloc and free for a pair that does not fit new and delete.
[[gnu::noinline]] void* operator new(size_t size_bytes) {
  ++allocations;
  if (void* ptr = std::malloc(size_bytes)) return ptr;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t size_bytes, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size_bytes);
}
[[gnu::noinline]] void operator delete(void* ptr) noexcept {
  std::free(ptr);
}
[[gnu::noinline]] void operator delete(void* ptr, size_t) noexcept {
  std::free(ptr);
}

using namespace taper;

namespace {

struct ReluCall {
  Tensor x, y;
  Problem problem() const {
    return Problem("relu", "forward", y.device())
        .add("x", x)
        .add("y", y)
        .add("in place", {0})
        .add("epilogue", "none");
  }
  std::vector<Tensor*> outputs() { return {&y}; }
};

int runs = 0;

std::vector<Candidate<ReluCall>> candidates(const ReluCall&) {
  return {{.name = "one", .run = [](const ReluCall&, void*) { ++runs; }},
          {.name = "two", .run = [](const ReluCall&, void*) { ++runs; }}};
}

}  // namespace

int main() {
  AlgorithmCache cache;
  const ReluCall call{empty({8, 3, 4, 4}), empty({8, 3, 4, 4})};
  for (const AlgorithmMode mode :
       {AlgorithmMode::kHeuristic, AlgorithmMode::kBenchmark, AlgorithmMode::kDeterministic}) {
    cache.set_mode(mode);
    const int64_t at_start = allocations;
    cache.run(call, candidates);
    const int64_t after_miss = allocations;
    runs = 0;
    for (int i = 0; i < 100; ++i) cache.run(call, candidates);
    if (after_miss == at_start || allocations != after_miss || runs != 100) {
      std::printf("%lld allocations in %d calls\n", static_cast<long long>(allocations - after_miss), runs);
      return 1;
    }
  }
}
