// The race detector (preset sim-race): every planted race is reported with both places, and correct kernels
// pass.

#include <catch2/catch.hpp>

#include "taper/core/base/error.h"
#include "taper/core/gpu/async_copy.h"
#include "taper/core/gpu/launch.h"
#include "tests/support/gpu_array.h"

using namespace taper;
using Catch::Contains;
using test::DeviceArray;

namespace {

enum class Order { kNone, kBarrier, kWarp };

__device__ void order(Order how) {
  if (how == Order::kBarrier) __syncthreads();
  if (how == Order::kWarp) __syncwarp();
}

// Each thread writes its word and reads its neighbour's at `distance`.
__global__ void neighbour_static(int* out, unsigned distance, Order how) {
  __shared__ int words[128];
  words[threadIdx.x] = 1;
  order(how);
  out[threadIdx.x] = words[(threadIdx.x + distance) % blockDim.x];
}

__global__ void neighbour_dynamic(int* out, unsigned distance, Order how) {
  int* words = gpu::dynamic_shared<int>();
  words[threadIdx.x] = 1;
  order(how);
  out[threadIdx.x] = words[(threadIdx.x + distance) % blockDim.x];
}

// Reads first, writes after: what a loop without its second barrier does.
__global__ void write_after_read(int* out, bool second_barrier) {
  __shared__ int word;
  if (threadIdx.x == 0) word = 5;
  __syncthreads();
  out[threadIdx.x] = word;
  if (second_barrier) __syncthreads();
  if (threadIdx.x == 40) word = 6;
}

__global__ void write_one_word(int* out) {
  *out = static_cast<int>(threadIdx.x);
}

__global__ void bytes_side_by_side(unsigned char* out) {
  __shared__ unsigned char bytes[64];
  bytes[threadIdx.x] = static_cast<unsigned char>(threadIdx.x);
  __syncthreads();
  out[threadIdx.x] = bytes[63 - threadIdx.x];
}

__global__ void count_atomically(int* counter, bool plainly_too) {
  atomicAdd(counter, 1);
  if (plainly_too && threadIdx.x == 3) *counter += 1;
}

__global__ void blocks_overlap(int* out, int stride) {
  out[static_cast<int>(blockIdx.x) * stride + static_cast<int>(threadIdx.x)] = 1;
}

// The last block to finish sums what the others left.
__global__ void last_block_sums(int* partial, unsigned* finished, int* out, bool fenced) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = static_cast<int>(blockIdx.x);
    if (fenced) __threadfence();
    last = atomicAdd(finished, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    int sum = 0;
    for (unsigned b = 0; b < gridDim.x; ++b) sum += partial[b];
    *out = sum;
  }
}

// A tree within a warp, ordered by __syncwarp alone.
__global__ void warp_tree(int* out, bool ordered) {
  __shared__ int words[32];
  const unsigned lane = threadIdx.x;
  words[lane] = 1;
  for (unsigned delta = 16; delta > 0; delta /= 2) {
    if (ordered) __syncwarp();
    const int other = lane < delta ? words[lane + delta] : 0;
    if (lane < delta) words[lane] += other;
  }
  if (lane == 0) *out = words[0];
}

__global__ void async_without_barrier(const float* in, float* out, bool barrier) {
  float* tile = gpu::dynamic_shared<float>();
  gpu::async_copy<4>(tile + threadIdx.x, in + threadIdx.x);
  gpu::async_copy_commit();
  gpu::async_copy_wait<0>();
  if (barrier) __syncthreads();
  out[threadIdx.x] = tile[63 - threadIdx.x];
}

template <class Launch>
std::string report(Launch&& launch) {
  try {
    launch();
    gpu::synchronize();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing reported";
}

}  // namespace

TEST_CASE("a missing barrier is a race") {
  DeviceArray<int> out(128);
  for (const bool dynamic : {false, true}) {
    CAPTURE(dynamic);
    auto run = [&](unsigned distance, Order how) {
      return report([&] {
        gpu::launch("neighbour", dynamic ? neighbour_dynamic : neighbour_static,
                    {.grid = 1, .block = 128, .dynamic_shared_bytes = 512}, out.data(), distance, how);
      });
    };
    REQUIRE_THAT(
        run(1, Order::kNone),
        Contains("race: at ") && Contains("sim_race_test.cpp:") &&
            Contains(dynamic ? "shared memory, which thread (" : "shared memory (words), which thread (") &&
            Contains("nothing orders the two") && Contains("kernel neighbour, block ("));
    REQUIRE_THAT(run(64, Order::kWarp), Contains("race: at "));  // the neighbour is in another warp
    REQUIRE(run(1, Order::kBarrier) == "nothing reported");
    REQUIRE(run(64, Order::kBarrier) == "nothing reported");
    REQUIRE(run(0, Order::kNone) == "nothing reported");
  }
}

TEST_CASE("a write after others' reads is a race without a barrier between") {
  DeviceArray<int> out(64);
  REQUIRE_THAT(report([&] {
                 gpu::launch("write_after_read", write_after_read, {.grid = 1, .block = 64}, out.data(),
                             false);
               }),
               Contains("race: at ") && Contains("shared memory"));
  REQUIRE(report([&] {
            gpu::launch("write_after_read", write_after_read, {.grid = 1, .block = 64}, out.data(), true);
          }) == "nothing reported");
}

TEST_CASE("threads that write one word of device memory race") {
  DeviceArray<int> out(1);
  REQUIRE_THAT(
      report([&] { gpu::launch("write_one_word", write_one_word, {.grid = 1, .block = 2}, out.data()); }),
      Contains("race: at ") && Contains("writes 0 bytes into a 4-byte block on cuda:0") &&
          Contains("which thread (") && Contains("wrote at"));
  REQUIRE(report([&] {
            gpu::launch("write_one_word", write_one_word, {.grid = 1, .block = 1}, out.data());
          }) == "nothing reported");
}

TEST_CASE("neighbouring bytes do not race") {
  DeviceArray<unsigned char> out(64);
  REQUIRE(report([&] {
            gpu::launch("bytes_side_by_side", bytes_side_by_side, {.grid = 3, .block = 64}, out.data());
          }).find("another block") != std::string::npos);  // all blocks write the same output: that is one
  REQUIRE(report([&] {
            gpu::launch("bytes_side_by_side", bytes_side_by_side, {.grid = 1, .block = 64}, out.data());
          }) == "nothing reported");
}

TEST_CASE("atomics do not race with each other, but with plain accesses they do") {
  DeviceArray<int> counter(std::vector<int>{0});
  REQUIRE(report([&] {
            gpu::launch("count_atomically", count_atomically, {.grid = 4, .block = 64}, counter.data(),
                        false);
          }) == "nothing reported");
  REQUIRE_THAT(report([&] {
                 gpu::launch("count_atomically", count_atomically, {.grid = 1, .block = 64}, counter.data(),
                             true);
               }),
               Contains("race: at ") && Contains("atomically"));
}

TEST_CASE("blocks that touch the same words race") {
  DeviceArray<int> out(256);
  REQUIRE(report([&] {
            gpu::launch("blocks_overlap", blocks_overlap, {.grid = 4, .block = 64}, out.data(), 64);
          }) == "nothing reported");
  REQUIRE_THAT(report([&] {
                 gpu::launch("blocks_overlap", blocks_overlap, {.grid = 4, .block = 64}, out.data(), 63);
               }),
               Contains("race: at ") && Contains("another block wrote at"));
}

TEST_CASE("a fence and an atomic order blocks") {
  DeviceArray<int> partial(5), out(1);
  auto run = [&](bool fenced) {
    DeviceArray<unsigned> finished(std::vector<unsigned>{0});
    return report([&] {
      gpu::launch("last_block_sums", last_block_sums, {.grid = 5, .block = 32}, partial.data(),
                  finished.data(), out.data(), fenced);
    });
  };
  REQUIRE(run(true) == "nothing reported");
  REQUIRE(out.host()[0] == 10);
  REQUIRE_THAT(run(false), Contains("race: at ") && Contains("another block wrote at"));
}

TEST_CASE("__syncwarp orders the lanes of a warp") {
  DeviceArray<int> out(1);
  REQUIRE(report([&] { gpu::launch("warp_tree", warp_tree, {.grid = 1, .block = 32}, out.data(), true); }) ==
          "nothing reported");
  REQUIRE(out.host()[0] == 32);
  REQUIRE_THAT(
      report([&] { gpu::launch("warp_tree", warp_tree, {.grid = 1, .block = 32}, out.data(), false); }),
      Contains("race: at "));
}

TEST_CASE("other threads' asynchronous copies need a barrier") {
  DeviceArray<float> in(std::vector<float>(64, 1.0f)), out(64);
  auto run = [&](bool barrier) {
    return report([&] {
      gpu::launch("async_without_barrier", async_without_barrier,
                  {.grid = 1, .block = 64, .dynamic_shared_bytes = 256}, in.data(), out.data(), barrier);
    });
  };
  REQUIRE(run(true) == "nothing reported");
  REQUIRE_THAT(run(false), Contains("race: at ") && Contains("shared memory"));
}
