// A call whose algorithm is already chosen allocates nothing.

#include <cstdio>
#include <cstdlib>
#include <new>

#include "taper/core/gpu/runtime.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/gemm/gemm_call.h"

namespace {
thread_local int64_t allocations = 0;
}

// Not inlined: GCC would treat malloc and free as a pair that does not match new and delete.
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

template <class Call>
std::vector<Algorithm> candidates(const Call&) {
  return {{.name = "one", .run = [](const Call&, void*) { ++runs; }},
          {.name = "two", .run = [](const Call&, void*) { ++runs; }}};
}

/// Returns whether a hundred calls whose algorithm is chosen allocate nothing, in every mode.
template <class Call>
bool hits_allocate_nothing(const Call& call) {
  AlgorithmCache cache;
  for (const AlgorithmMode mode :
       {AlgorithmMode::kHeuristic, AlgorithmMode::kBenchmark, AlgorithmMode::kDeterministic}) {
    cache.set_mode(mode);
    const int64_t at_start = allocations;
    cache.run(call, candidates<Call>);
    const int64_t after_miss = allocations;
    runs = 0;
    for (int i = 0; i < 100; ++i) cache.run(call, candidates<Call>);
    if (after_miss == at_start || allocations != after_miss || runs != 100) {
      std::printf("%s: %lld allocations in %d calls\n", call.problem().str().c_str(),
                  static_cast<long long>(allocations - after_miss), runs);
      return false;
    }
  }
  return true;
}

}  // namespace

int main() {
  bool good = hits_allocate_nothing(ReluCall{empty({8, 3, 4, 4}), empty({8, 3, 4, 4})});
  if (gpu::device_count() > 0) {
    const Tensor a = empty({4, 4}, {.device = kCUDA});
    const ops::GpuMatrix matrix{.data = a.data_ptr(), .stride = 4};
    good &= hits_allocate_nothing(
        ops::GemmCall{.gemm = {.sizes = {4, 4, 4}, .a = matrix, .b = matrix, .c = {.stride = 4}},
                      .c = empty({4, 4}, {.device = kCUDA})});
  }
  return good ? 0 : 1;
}
