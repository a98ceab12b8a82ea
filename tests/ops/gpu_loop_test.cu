// The strided loop of GPU kernels, where its parts can be seen.

#include <catch2/catch.hpp>
#include <random>

#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/copy/strided_gpu.cuh"
#include "tests/support/gpu_array.h"

using namespace taper;

namespace {

__global__ void divide(const uint32_t* n, uint32_t* quotient, int count, ops::FastDivisor by) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) quotient[i] = by.quotient(n[i]);
}

__global__ void add_one(ops::GpuLoop<2> loop) {
  const uint32_t first = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
  if (first >= loop.numel) return;
  const int count = min(4, int(loop.numel - first));
  float values[4];
  ops::load_pack(loop, loop.operands[1], first, count, values);
  for (float& value : values) value += 1;
  ops::store_pack(loop, loop.operands[0], first, count, values);
}

}  // namespace

TEST_CASE("a fast divisor divides every number below 2^31") {
  std::mt19937 random(1);
  std::vector<uint32_t> numbers = {0, 1, 2, 3, 4095, 4096, 0x3fffffff, 0x40000000, 0x7ffffffe, 0x7fffffff};
  for (int i = 0; i < 500; ++i) numbers.push_back(random() >> (random() % 31 + 1));
  const test::DeviceArray<uint32_t> n(numbers), quotient(numbers.size());
  for (const uint32_t by :
       {1u, 2u, 3u, 5u, 7u, 31u, 32u, 33u, 641u, 1000u, 65535u, 65537u, 0x40000001u, 0x7fffffffu}) {
    gpu::launch("divide", divide, {.grid = unsigned(numbers.size() / 64 + 1), .block = 64}, n.data(),
                quotient.data(), int(numbers.size()), ops::FastDivisor(by));
    const std::vector<uint32_t> results = quotient.host();
    for (size_t i = 0; i < numbers.size(); ++i) REQUIRE(results[i] == numbers[i] / by);
  }
}

TEST_CASE("a loop too large for one launch runs in parts that cover it once") {
  const Tensor x = views::view(ops::arange(0, 7 * 9 * 13, 1, {.dtype = kFloat32}), {7, 9, 13});
  const std::vector<double> before = ops::to_vector<double>(x);
  for (const int64_t limit : {2000, 400, 100, 13, 5}) {
    const Tensor on_gpu = ops::to_device(x, Device("cuda"));
    const Tensor turned = views::permute(on_gpu, {2, 0, 1});
    const Tensor* tensors[] = {&turned, &turned};
    int parts = 0;
    ops::for_each_gpu_loop<2>(
        ops::StridedLoop(tensors), 4,
        [&](const ops::GpuLoop<2>& part) {
          ++parts;
          CHECK(int64_t(part.numel) <= limit);
          gpu::launch("add_one", add_one, {.grid = ops::loop_grid(part.numel, 4), .block = ops::kLoopBlock},
                      part);
        },
        limit);
    CHECK(parts >= 7 * 9 * 13 / limit);
    const std::vector<double> after = ops::to_vector<double>(on_gpu);
    for (size_t i = 0; i < before.size(); ++i) REQUIRE(after[i] == before[i] + 1);
  }
}
