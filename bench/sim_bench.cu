// What the GPU's runtime costs, simulated or real: ns per launch, ns per launch that is waited for, bytes per
// second of copies. On the simulated GPU, also what a thread and a barrier cost.

#include <benchmark/benchmark.h>

#include "taper/core/files/program.h"
#include "taper/core/gpu/launch.h"

using namespace taper;

namespace {

__global__ void nothing() {}

__global__ void store(float* out) {
  out[blockIdx.x * blockDim.x + threadIdx.x] = float(threadIdx.x);
}

__global__ void wait_often(float* out, int barriers) {
  for (int i = 0; i < barriers; ++i) __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = 1;
}

/// Device memory for a scope.
class DeviceBytes {
 public:
  explicit DeviceBytes(size_t size_bytes) : data_(gpu::allocate(size_bytes)) {}
  ~DeviceBytes() { gpu::deallocate(data_); }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;
  void* data() const { return data_; }

 private:
  void* data_;
};

// Enqueues without waiting, a queue's worth at a time, as ops launch in a training step.
void launch(benchmark::State& state) {
  constexpr int kLaunches = 256;
  for (auto _ : state) {
    for (int i = 0; i < kLaunches; ++i) gpu::launch("nothing", nothing, {.grid = 1, .block = 32});
    state.PauseTiming();
    gpu::synchronize();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * kLaunches);
}
BENCHMARK(launch)->UseRealTime();

void launch_and_wait(benchmark::State& state) {
  for (auto _ : state) {
    gpu::launch("nothing", nothing, {.grid = 1, .block = 32});
    gpu::synchronize();
  }
}
BENCHMARK(launch_and_wait)->UseRealTime();

// Items are threads: a kernel that never waits is a plain loop on the simulated GPU.
void threads(benchmark::State& state) {
  constexpr unsigned kBlocks = 64, kThreads = 256;
  const DeviceBytes out(kBlocks * kThreads * sizeof(float));
  for (auto _ : state) {
    gpu::launch("store", store, {.grid = kBlocks, .block = kThreads}, static_cast<float*>(out.data()));
    gpu::synchronize();
  }
  state.SetItemsProcessed(state.iterations() * kBlocks * kThreads);
}
BENCHMARK(threads)->UseRealTime();

// Items are threads times barriers. On the simulated GPU each is a switch of fibers.
void barriers(benchmark::State& state) {
  constexpr unsigned kBlocks = 16;
  const auto threads_per_block = unsigned(state.range(0));
  const auto count = int(state.range(1));
  const DeviceBytes out(kBlocks * threads_per_block * sizeof(float));
  for (auto _ : state) {
    gpu::launch("wait_often", wait_often, {.grid = kBlocks, .block = threads_per_block},
                static_cast<float*>(out.data()), count);
    gpu::synchronize();
  }
  state.SetItemsProcessed(state.iterations() * kBlocks * threads_per_block * count);
}
BENCHMARK(barriers)->Args({64, 32})->Args({256, 32})->Args({1024, 32})->UseRealTime();

template <gpu::CopyKind kKind>
void copy(benchmark::State& state) {
  const auto size_bytes = size_t(state.range(0));
  const DeviceBytes device(size_bytes), other(size_bytes);
  void* const pinned = gpu::allocate_pinned(size_bytes);
  const gpu::Stream stream = gpu::current_stream();
  gpu::fill_async(device.data(), 1, size_bytes, stream);
  void* const to = kKind == gpu::CopyKind::kDeviceToHost ? pinned : other.data();
  const void* const from = kKind == gpu::CopyKind::kHostToDevice ? pinned : device.data();
  for (auto _ : state) {
    gpu::copy_async(to, from, size_bytes, kKind, stream);
    stream.synchronize();
  }
  gpu::deallocate_pinned(pinned);
  state.SetBytesProcessed(state.iterations() * int64_t(size_bytes));
}
BENCHMARK(copy<gpu::CopyKind::kHostToDevice>)->Arg(4096)->Arg(64 << 20)->UseRealTime();
BENCHMARK(copy<gpu::CopyKind::kDeviceToHost>)->Arg(4096)->Arg(64 << 20)->UseRealTime();
BENCHMARK(copy<gpu::CopyKind::kDeviceToDevice>)->Arg(4096)->Arg(64 << 20)->UseRealTime();

}  // namespace

int main(int argc, char** argv) {
  start_program("sim_bench");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
