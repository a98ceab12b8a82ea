// What choosing an algorithm costs an op on every call, in ns: the key of a convolution, the look-up, and
// both with the call of a candidate that does nothing. `allocations` counts operator new in the loop.

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <new>

#include "taper/core/files/program.h"
#include "taper/ops/algorithms/algorithm_cache.h"

namespace {
thread_local int64_t allocations = 0;
}

// Not inlined: GCC would treat malloc and free as a pair that does not match new and delete.
[[gnu::noinline]] void* operator new(size_t size_bytes) {
  ++allocations;
  if (void* ptr = std::malloc(size_bytes)) return ptr;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* ptr) noexcept {
  std::free(ptr);
}
[[gnu::noinline]] void operator delete(void* ptr, size_t) noexcept {
  std::free(ptr);
}

using namespace taper;

namespace {

struct ConvCall {
  Tensor x, weight, bias, y;
  Problem problem() const {
    return Problem("conv2d", "forward", y.device())
        .add("x", x)
        .add("weight", weight)
        .add("bias", bias)
        .add("stride", {1, 1})
        .add("padding", {1, 1})
        .add("dilation", {1, 1})
        .add("groups", {1})
        .add("compute", kFloat32);
  }
  std::vector<Tensor*> outputs() { return {&y}; }
};

/// Returns a convolution of ResNet-50 on `size` x `size` pixels.
ConvCall conv_call(int64_t size) {
  const Tensor x = empty({1, 64, size, size}, {.memory_format = kChannelsLast});
  return {x, empty({64, 64, 3, 3}, {.memory_format = kChannelsLast}), {}, empty_like(x)};
}

std::vector<Algorithm> candidates(const ConvCall&) {
  return {{.name = "nothing", .run = [](const ConvCall&, void*) {}}};
}

class CountAllocations {
 public:
  explicit CountAllocations(benchmark::State& state) : state_(state) {}
  ~CountAllocations() { state_.counters["allocations"] = double(allocations - before_); }

 private:
  benchmark::State& state_;
  int64_t before_ = allocations;
};

void key(benchmark::State& state) {
  const ConvCall call = conv_call(56);
  const CountAllocations count(state);
  for (auto _ : state) benchmark::DoNotOptimize(call.problem());
}
BENCHMARK(key);

void key_and_hash(benchmark::State& state) {
  const ConvCall call = conv_call(56);
  const CountAllocations count(state);
  for (auto _ : state) benchmark::DoNotOptimize(call.problem().hash());
}
BENCHMARK(key_and_hash);

// As an op does it, in a table of 100 problems: a training step of ResNet-50 has about 70.
void hit(benchmark::State& state) {
  static AlgorithmCache cache;
  for (int64_t size = 1; size <= 100; ++size) cache.run(conv_call(size), candidates);
  const ConvCall call = conv_call(56);
  cache.run(call, candidates);
  const CountAllocations count(state);
  for (auto _ : state) cache.run(call, candidates);
}
BENCHMARK(hit)->Threads(1)->Threads(2)->UseRealTime();

}  // namespace

int main(int argc, char** argv) {
  start_program("algorithm_bench");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
