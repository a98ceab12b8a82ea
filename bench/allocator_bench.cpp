// What a block of device memory costs, in ns per allocate and free: from the caching allocator with one
// thread and with four, from the runtime underneath, and over the recorded allocations of a training step.

#include <benchmark/benchmark.h>

#include <random>

#include "taper/core/files/program.h"
#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/core/gpu/memory/pinned_allocator.h"
#include "taper/nn/report/memory_trace.h"
#include "tests/support/folder.h"
#if TAPER_SIMULATED_GPU
#include "taper/core/gpu/sim.h"
#endif

using namespace taper;

namespace {

constexpr int64_t kKiB = 1024, kMiB = 1024 * kKiB;

/// Returns an allocator with a warm cache, shared by all threads of a benchmark. Does not measure poisoning,
/// which only the simulated GPU does.
gpu::CachingAllocator& warm_allocator() {
  static gpu::CachingAllocator allocator(0);
#if TAPER_SIMULATED_GPU
  gpu::sim::set_annotations(false);
#endif
  return allocator;
}

// The block is whole when it comes back, so it is only found and put back. In a training step that repeats,
// nearly all requests are of this kind.
void cached(benchmark::State& state) {
  gpu::CachingAllocator& allocator = warm_allocator();
  const gpu::StreamGuard guard(gpu::stream_from_pool(0));
  const auto size = size_t(state.range(0));
  // Neighbours in use keep the block from merging.
  void* const before = allocator.allocate(size);
  void* const block = allocator.allocate(size);
  void* const after = allocator.allocate(size);
  allocator.deallocate(block, size);
  for (auto _ : state) {
    void* const ptr = allocator.allocate(size);
    benchmark::DoNotOptimize(ptr);
    allocator.deallocate(ptr, size);
  }
  allocator.deallocate(before, size);
  allocator.deallocate(after, size);
}
BENCHMARK(cached)->Arg(512)->Arg(64 * kKiB)->Arg(4 * kMiB)->Threads(1)->Threads(4)->UseRealTime();

// The block is cut from a larger free block and merged into it again.
void split_and_merge(benchmark::State& state) {
  gpu::CachingAllocator& allocator = warm_allocator();
  const gpu::StreamGuard guard(gpu::stream_from_pool(0));
  const auto size = size_t(state.range(0));
  for (auto _ : state) {
    void* const ptr = allocator.allocate(size);
    benchmark::DoNotOptimize(ptr);
    allocator.deallocate(ptr, size);
  }
}
BENCHMARK(split_and_merge)->Arg(512)->Arg(4 * kMiB)->Threads(1)->Threads(4)->UseRealTime();

// 200 blocks of mixed sizes are live; each time a random one is replaced.
void mixed(benchmark::State& state) {
  gpu::CachingAllocator& allocator = warm_allocator();
  const gpu::StreamGuard guard(gpu::stream_from_pool(0));
  std::mt19937 random(uint32_t(state.thread_index()));
  auto random_size = [&] { return size_t{1} << (random() % 22); };
  std::vector<std::pair<void*, size_t>> live(200);
  for (auto& [ptr, size] : live) ptr = allocator.allocate(size = random_size());
  auto replace_one = [&] {
    auto& [ptr, size] = live[random() % live.size()];
    allocator.deallocate(ptr, size);
    ptr = allocator.allocate(size = random_size());
  };
  for (int i = 0; i < 20'000; ++i) replace_one();  // until the segments suffice
  for (auto _ : state) replace_one();
  for (const auto& [ptr, size] : live) allocator.deallocate(ptr, size);
}
BENCHMARK(mixed)->Threads(1)->Threads(4)->UseRealTime();

// Each block that a second stream uses waits for an event.
void with_record_stream(benchmark::State& state) {
  gpu::CachingAllocator& allocator = warm_allocator();
  const gpu::Stream own = gpu::stream_from_pool(0), other = gpu::stream_from_pool(0);
  for (auto _ : state) {
    void* const ptr = allocator.allocate(4096, own);
    allocator.record_stream(ptr, other);
    allocator.deallocate(ptr, 4096);
  }
  gpu::synchronize(0);
}
BENCHMARK(with_record_stream);

// What a request would cost without the cache.
void runtime(benchmark::State& state) {
  const auto size = size_t(state.range(0));
  for (auto _ : state) {
    void* const ptr = gpu::allocate(size, 0);
    benchmark::DoNotOptimize(ptr);
    gpu::deallocate(ptr, 0);
  }
}
BENCHMARK(runtime)->Arg(512)->Arg(64 * kKiB)->Arg(4 * kMiB)->Threads(1)->Threads(4)->UseRealTime();

void pinned_cached(benchmark::State& state) {
  gpu::PinnedAllocator allocator;
  for (auto _ : state) {
    void* const ptr = allocator.allocate(64 * kKiB);
    benchmark::DoNotOptimize(ptr);
    allocator.deallocate(ptr, 64 * kKiB);
  }
}
BENCHMARK(pinned_cached);

void pinned_runtime(benchmark::State& state) {
  for (auto _ : state) {
    void* const ptr = gpu::allocate_pinned(64 * kKiB);
    benchmark::DoNotOptimize(ptr);
    gpu::deallocate_pinned(ptr);
  }
}
BENCHMARK(pinned_runtime);

// The tensors of one training step of ResNet-50, over and over.
void resnet50_step(benchmark::State& state) {
  gpu::CachingAllocator& allocator = warm_allocator();
  const auto events =
      read_memory_trace(folder_from("TAPER_TEST_DATA", TAPER_TEST_DATA) + "/resnet50_step.jsonl");
  replay_memory_trace(events, allocator);
  for (auto _ : state) replay_memory_trace(events, allocator);
  const double calls = double(events.size()) * double(state.iterations());
  state.counters["per_call"] =
      benchmark::Counter(calls, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(resnet50_step);

}  // namespace

int main(int argc, char** argv) {
  start_program("allocator_bench");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
