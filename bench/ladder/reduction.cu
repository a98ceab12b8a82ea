// The ladder of reduction: the sum of an array, from one thread's loop to the kernel that ships.
//
//   ladder_reduction [--size ELEMENTS]
//
// Every number is read once and used once, so memory limits the speed: a rung is as good as the share of a
// copy's bandwidth that it reaches.

#include <fmt/format.h>

#include <cmath>

#include "bench/ladder/ladder.h"
#include "taper/core/base/ceil_div.h"
#include "taper/core/gpu/launch.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/reduce/block_reduce.cuh"
#include "taper/ops/reduce/reduce.h"
#include "taper/ops/reduce/row_gpu.cuh"

using namespace taper;

namespace {

constexpr unsigned kBlock = 256;

/// Rung 1. Each thread adds one contiguous stretch.
__global__ void sum_stretches(const float* x, float* partial, int64_t count) {
  const int64_t threads = int64_t(gridDim.x) * blockDim.x,
                thread = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  const int64_t stretch = ceil_div(count, threads);
  float sum = 0;
  for (int64_t i = thread * stretch; i < min((thread + 1) * stretch, count); ++i) sum += x[i];
  partial[thread] = sum;
}

/// Rung 2. Neighbouring threads read neighbouring numbers.
__global__ void sum_side_by_side(const float* x, float* partial, int64_t count) {
  const int64_t threads = int64_t(gridDim.x) * blockDim.x,
                thread = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  float sum = 0;
  for (int64_t i = thread; i < count; i += threads) sum += x[i];
  partial[thread] = sum;
}

/// Rung 3. A tree in shared memory leaves one number for each block.
__global__ void sum_in_shared(const float* x, float* partial, int64_t count) {
  __shared__ float sums[kBlock];
  const int64_t threads = int64_t(gridDim.x) * blockDim.x;
  float sum = 0;
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; i < count; i += threads) sum += x[i];
  sums[threadIdx.x] = sum;
  for (unsigned half = kBlock / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) partial[blockIdx.x] = sums[0];
}

/// Rung 4. Shuffles within a warp, and shared memory only between warps.
__global__ void sum_by_shuffles(const float* x, float* partial, int64_t count) {
  const int64_t threads = int64_t(gridDim.x) * blockDim.x;
  float sum = 0;
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; i < count; i += threads) sum += x[i];
  sum = ops::block_reduce(sum, ops::fold::Sum());
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// Rung 5. Loads of 16 bytes, four in flight at once.
__global__ void sum_vectors(const float* x, float* partial, int64_t count) {
  const int threads = int(gridDim.x * blockDim.x), thread = int(blockIdx.x * blockDim.x + threadIdx.x);
  float sum = 0;
  ops::visit_row(
      x, count, thread, threads, [&](float value, int64_t) { sum += value; },
      [&](const float(&values)[4], int64_t) { sum += (values[0] + values[1]) + (values[2] + values[3]); });
  sum = ops::block_reduce(sum, ops::fold::Sum());
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

using Kernel = void (*)(const float*, float*, int64_t);

/// Sets result to the sum: the kernel once on x with `blocks` blocks, then on its partial sums with one.
void sum_with(Kernel kernel, const char* name, const Tensor& x, const Tensor& result, unsigned blocks,
              bool one_per_block) {
  const int64_t left = int64_t(blocks) * (one_per_block ? 1 : kBlock);
  const Tensor partial = empty({left}, {.dtype = kFloat32, .device = x.device()});
  gpu::launch(name, kernel, {.grid = blocks, .block = kBlock}, x.data<float>(), partial.data<float>(),
              x.numel());
  gpu::launch(name, kernel, {.grid = 1, .block = one_per_block ? kBlock : 1}, partial.data<float>(),
              result.data<float>(), left);
}

}  // namespace

int main(int argc, char** argv) {
  const auto make = [](int64_t count) {
    const Tensor host = empty({count}, {.dtype = kFloat32});
    for (int64_t i = 0; i < count; ++i) host.data<float>()[i] = float(i * 7919 % 1021) / 1024;
    const double expected = ops::item(ops::sum(ops::cast(host, kFloat64)));
    const Tensor x = ops::to_device(host, Device("cuda")), copy = empty_like(x);
    const Tensor result = empty({}, {.dtype = kFloat32, .device = x.device()});
    const unsigned blocks = unsigned(gpu::properties().multiprocessors * 8);
    // Long chains of additions in f32 keep three digits; the last rung keeps seven.
    const auto error = [=] { return std::fabs(ops::item(result) / expected - 1) / 1e-3; };
    const double bytes = double(count) * sizeof(float);
    const auto rung = [&](const char* name, const char* change, Kernel kernel, bool one_per_block,
                          double traffic = 1) {
      return ladder::Rung{name,  change, [=] { sum_with(kernel, name, x, result, blocks, one_per_block); },
                          error, bytes,  traffic};
    };
    return ladder::Ladder{
        .title = fmt::format("sum of {} floats", count),
        .unit = "GB/s",
        .unit_size = 1e9,
        .rungs = {
            {"copy", "the measure: what memory can do, reading and writing as much",
             [=] { ops::copy_(copy, x); },
             [=] { return ops::item(ops::sum(copy)) == ops::item(ops::sum(x)) ? 0 : 2; }, 2 * bytes, 1},
            rung("stretches",
                 "every thread adds its own stretch: a warp's loads touch 32 far places and waste most of "
                 "each sector",
                 sum_stretches, false, 8),
            rung("side by side",
                 "neighbours read neighbours: a warp's load is one request for 128 bytes, all of them used",
                 sum_side_by_side, false),
            rung("shared memory",
                 "a block adds up in a tree before it leaves: the last step has one number for each block to "
                 "add",
                 sum_in_shared, true),
            rung("warp shuffles", "the tree goes through registers: two barriers instead of eight",
                 sum_by_shuffles, true),
            rung("16-byte loads",
                 "four loads of 16 bytes on their way at once: memory is busy while enough bytes are under "
                 "way",
                 sum_vectors, true),
            {"shipped", "ops::sum: the same for any axes and dtypes, added in f64 while memory sets the pace",
             [=] { ops::copy_(result, ops::sum(x)); },
             [=] { return std::fabs(ops::item(result) / expected - 1) / 1e-6; }, bytes, 1},
        }};
  };
  return ladder::climb(argc, argv, {.simulated = 1 << 16, .hardware = 1 << 26}, make);
}
