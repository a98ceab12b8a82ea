// What the simulated GPU counts of kernels.

#include <catch2/catch.hpp>

#include "taper/core/base/parallel.h"
#include "taper/core/gpu/launch.h"
#include "taper/core/gpu/sim.h"
#include "tests/support/gpu_array.h"
#include "tests/support/test_tensors.h"

using namespace taper;

namespace {

/// Two barriers a block; one shuffle and one ballot for each warp; in the first warp a second shuffle.
__global__ void waits(int* out) {
  int value = __shfl_xor_sync(0xffffffffu, int(threadIdx.x), 1);
  __syncthreads();
  value += int(__ballot_sync(0xffffffffu, value > 3));
  if (threadIdx.x < 32) value = __shfl_sync(0xffffffffu, value, 0);
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = value;
}

__global__ void never_waits(int* out) {
  out[blockIdx.x * blockDim.x + threadIdx.x] = 1;
}

}  // namespace

TEST_CASE("launches, blocks, barriers and operations of warps are counted, for any number of threads") {
  test::DeviceArray<int> out(100 * 96);
  for (const int threads : {1, 3}) {
    const ThreadsGuard guard(threads);
    gpu::synchronize();
    gpu::sim::reset_kernel_counts();
    gpu::launch("waits", waits, {.grid = 100, .block = 96}, out.data());
    gpu::launch("never_waits", never_waits, {.grid = dim3(5, 2), .block = 96}, out.data());
    gpu::synchronize();
    const gpu::sim::KernelCounts counts = gpu::sim::kernel_counts();
    CHECK(counts.launches == 2);
    CHECK(counts.blocks == 110);
    CHECK(counts.barriers == 200);
    CHECK(counts.warp_operations == 100 * (3 + 3 + 1));
  }
  gpu::sim::reset_kernel_counts();
  CHECK(gpu::sim::kernel_counts().barriers == 0);
}
