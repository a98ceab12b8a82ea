// Tensor-core tiles and asynchronous copies.

#include <catch2/catch.hpp>
#include <random>

#include "taper/core/gpu/async_copy.h"
#include "taper/core/gpu/launch.h"
#include "taper/core/gpu/mma.h"
#include "tests/support/gpu_array.h"

using namespace taper;
using test::DeviceArray;

namespace {

// Lane l holds elements of C where mma.h says.
__device__ __forceinline__ void store(float* c, const gpu::FragmentC& sum) {
  const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
  c[g * 8 + 2 * t] = sum.x[0];
  c[g * 8 + 2 * t + 1] = sum.x[1];
  c[(g + 8) * 8 + 2 * t] = sum.x[2];
  c[(g + 8) * 8 + 2 * t + 1] = sum.x[3];
}

// c = a b + 1 for a: [16, 16], b: [16, 8], both row-major; fragments gathered element by element.
template <class T>
__global__ void multiply_by_layout(const T* a, const T* b, float* c) {
  const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
  auto pair = [](T low, T high) {
    const T both[2] = {low, high};
    uint32_t bits;
    memcpy(&bits, both, 4);
    return bits;
  };
  gpu::FragmentA left;
  for (unsigned r = 0; r < 4; ++r) {
    const T* first = a + (g + r % 2 * 8) * 16 + 2 * t + r / 2 * 8;
    left.x[r] = pair(first[0], first[1]);
  }
  gpu::FragmentB right;
  for (unsigned r = 0; r < 2; ++r) {
    const T* first = b + (2 * t + r * 8) * 8 + g;
    right.x[r] = pair(first[0], first[8]);
  }
  gpu::FragmentC sum{{1, 1, 1, 1}};
  gpu::mma<T>(sum, left, right);
  store(c, sum);
}

// c = a b + 1 as above, with fragments loaded from shared memory. b_transposed: b is stored as [8, 16].
template <class T>
__global__ void multiply_by_ldmatrix(const T* a, const T* b, float* c, bool b_transposed) {
  __shared__ __align__(16) T a_tile[16 * 16], b_tile[16 * 8];
  const unsigned lane = threadIdx.x;
  for (unsigned i = lane; i < 16 * 16; i += 32) a_tile[i] = a[i];
  for (unsigned i = lane; i < 16 * 8; i += 32) b_tile[i] = b[i];
  __syncthreads();
  gpu::FragmentA left;
  // Matrices 0..3 are the quarters of A in the order of FragmentA's registers.
  gpu::load_matrices(left.x, a_tile + lane % 16 * 16 + lane / 16 * 8);
  gpu::FragmentB right;
  if (b_transposed)
    gpu::load_matrices(right.x, b_tile + lane % 8 * 16 + lane / 8 % 2 * 8);
  else
    gpu::load_matrices<true>(right.x, b_tile + lane % 16 * 8);
  gpu::FragmentC sum{{1, 1, 1, 1}};
  gpu::mma<T>(sum, left, right);
  store(c, sum);
}

// Copies `tiles` tiles of 128 floats through shared memory, two in flight, and adds 1 to each number.
template <int kBytes>
__global__ void stream_through(const float* in, float* out, int tiles, int valid_count) {
  constexpr int kPerThread = kBytes / 4, kTile = 128, kStages = 3;
  float* stages = gpu::dynamic_shared<float>();
  const int t = static_cast<int>(threadIdx.x);
  auto fetch = [&](int tile) {
    const int i = tile * kTile + t * kPerThread;
    if (tile < tiles && t * kPerThread < kTile) {
      gpu::async_copy<kBytes>(stages + tile % kStages * kTile + t * kPerThread, in + i, i < valid_count);
    }
    gpu::async_copy_commit();
  };
  fetch(0);
  fetch(1);
  for (int tile = 0; tile < tiles; ++tile) {
    gpu::async_copy_wait<1>();
    __syncthreads();
    fetch(tile + 2);
    out[tile * kTile + t] = stages[tile % kStages * kTile + (t ^ 1)] + 1;
  }
}

}  // namespace

TEMPLATE_TEST_CASE("a warp multiplies a 16x8x16 tile", "", __half, __nv_bfloat16) {
  std::mt19937 random(5);
  std::vector<TestType> a, b, b_transposed(16 * 8);
  for (int i = 0; i < 16 * 16; ++i) a.push_back(TestType(static_cast<float>(random() % 33) - 16));
  for (int i = 0; i < 16 * 8; ++i) b.push_back(TestType(static_cast<float>(random() % 33) / 8 - 2));
  for (size_t k = 0; k < 16; ++k) {
    for (size_t n = 0; n < 8; ++n) b_transposed[n * 16 + k] = b[k * 8 + n];
  }
  std::vector<float> expected;  // exact: small multiples of 1/8
  for (size_t m = 0; m < 16; ++m) {
    for (size_t n = 0; n < 8; ++n) {
      float sum = 1;
      for (size_t k = 0; k < 16; ++k)
        sum += static_cast<float>(a[m * 16 + k]) * static_cast<float>(b[k * 8 + n]);
      expected.push_back(sum);
    }
  }
  DeviceArray<TestType> left(a), right(b), right_transposed(b_transposed);
  DeviceArray<float> c(16 * 8);
  gpu::launch("multiply_by_layout", multiply_by_layout<TestType>, {.grid = 1, .block = 32}, left.data(),
              right.data(), c.data());
  REQUIRE(c.host() == expected);
  gpu::fill_async(c.data(), 0xff, c.size_bytes(), gpu::current_stream());
  gpu::launch("multiply_by_ldmatrix", multiply_by_ldmatrix<TestType>, {.grid = 1, .block = 32}, left.data(),
              right.data(), c.data(), false);
  REQUIRE(c.host() == expected);
  gpu::fill_async(c.data(), 0xff, c.size_bytes(), gpu::current_stream());
  gpu::launch("multiply_by_ldmatrix", multiply_by_ldmatrix<TestType>, {.grid = 1, .block = 32}, left.data(),
              right_transposed.data(), c.data(), true);
  REQUIRE(c.host() == expected);
}

TEST_CASE("asynchronous copies land by the time their group is waited for") {
  const int tiles = 9, count = tiles * 128, valid = count - 60;
  std::vector<float> values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<float>(i));
  std::vector<float> expected;
  for (int i = 0; i < count; ++i)
    expected.push_back(((i ^ 1) < valid ? static_cast<float>(i ^ 1) : 0.0f) + 1);
  DeviceArray<float> in(values);
  for (int bytes : {4, 8, 16}) {
    CAPTURE(bytes);
    DeviceArray<float> out(static_cast<size_t>(count));
    const gpu::LaunchConfig config{.grid = 1, .block = 128, .dynamic_shared_bytes = 3 * 128 * sizeof(float)};
    const auto kernel = bytes == 4 ? stream_through<4> : bytes == 8 ? stream_through<8> : stream_through<16>;
    gpu::launch("stream_through", kernel, config, in.data(), out.data(), tiles, valid);
    REQUIRE(out.host() == expected);
  }
}
