// The language of kernels, on whichever GPU this build has.

#include <catch2/catch.hpp>
#include <numeric>

#include "taper/core/gpu/launch.h"
#include "tests/support/gpu_array.h"

using namespace taper;
using test::DeviceArray;

namespace {

std::vector<int> count_up(size_t n) {
  std::vector<int> values(n);
  std::iota(values.begin(), values.end(), 0);
  return values;
}

__global__ void write_index(int* out, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) out[i] = i;
}

__global__ void write_index_3d(unsigned* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}

// Reverses each block's piece through shared memory, dynamic and static.
__global__ void reverse(const int* in, int* out) {
  __shared__ int staged[256];
  int* again = gpu::dynamic_shared<int>();
  const unsigned first = blockIdx.x * blockDim.x, t = threadIdx.x, mirror = blockDim.x - 1 - t;
  staged[t] = in[first + t];
  __syncthreads();
  again[mirror] = staged[t];
  __syncthreads();
  out[first + t] = again[t];
}

__global__ void block_votes(int* out) {
  const int t = static_cast<int>(threadIdx.x);
  const int count = __syncthreads_count(t % 3 == 0);
  const int some = __syncthreads_or(t == 77), none = __syncthreads_or(t > 1000);
  const int all = __syncthreads_and(t < 1000), not_all = __syncthreads_and(t != 5);
  out[t] = count * 10000 + some * 1000 + none * 100 + all * 10 + not_all;
}

template <class T>
__global__ void sum(const T* in, T* out, int count) {
  T total = 0;
  const int stride = static_cast<int>(gridDim.x * blockDim.x);
  for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < count; i += stride)
    total += in[i];
  for (int delta = warpSize / 2; delta > 0; delta /= 2) total += __shfl_down_sync(0xffffffffu, total, delta);
  __shared__ T warps[32];
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = total;
  __syncthreads();
  if (threadIdx.x < 32) {
    total = threadIdx.x < blockDim.x / 32 ? warps[threadIdx.x] : T(0);
    for (int mask = 16; mask > 0; mask /= 2) total += __shfl_xor_sync(0xffffffffu, total, mask);
    if (threadIdx.x == 0) atomicAdd(out, total);
  }
}

constexpr int kWarpResults = 16;
__global__ void warp_exchanges(unsigned* out) {
  const unsigned lane = threadIdx.x, all = 0xffffffffu;
  unsigned* mine = out + lane * kWarpResults;
  mine[0] = __shfl_sync(all, lane * 10, 7);
  mine[1] = __shfl_sync(all, lane, 2, 8);  // lane 2 of each group of 8
  mine[2] = __shfl_up_sync(all, lane, 3);
  mine[3] = __shfl_down_sync(all, lane, 3, 16);
  mine[4] = __shfl_xor_sync(all, lane, 5);
  mine[5] = __ballot_sync(all, lane % 4 == 1);
  mine[6] = __any_sync(all, lane == 31) * 2 + __any_sync(all, lane > 31);
  mine[7] = __all_sync(all, lane < 32) * 2 + __all_sync(all, lane < 31);
  mine[8] = __match_any_sync(all, lane % 3);
  int equal = 0;
  mine[9] = __match_all_sync(all, 4u, &equal);
  mine[10] = equal;
  mine[11] = __reduce_add_sync(all, lane);
  mine[12] = __reduce_max_sync(all, lane ^ 9);
  mine[13] = (__activemask() >> lane) & 1;
  // Two halves of the warp, each in its own branch with its own mask.
  if (lane < 16)
    mine[14] = __shfl_xor_sync(0x0000ffffu, lane, 1);
  else
    mine[14] = __reduce_add_sync(0xffff0000u, 1u);
  __syncwarp();
  mine[15] = __float_as_uint(__shfl_sync(all, 0.5f * static_cast<float>(lane), 9));
}

// Lanes that have returned do not count, even if the mask has them.
__global__ void shuffle_after_return(int* out) {
  if (threadIdx.x >= 8) return;
  out[threadIdx.x] = static_cast<int>(__ballot_sync(0xffffffffu, 1));
}

__global__ void bits(const unsigned* in, int* out) {
  const unsigned x = in[threadIdx.x];
  int* mine = out + threadIdx.x * 10;
  mine[0] = __popc(x);
  mine[1] = __ffs(static_cast<int>(x));
  mine[2] = __clz(static_cast<int>(x));
  mine[3] = static_cast<int>(__brev(x));
  mine[4] = static_cast<int>(__umulhi(x, 0x87654321u));
  mine[5] = static_cast<int>(__byte_perm(x, 0x11223344u, 0x0a47));
  mine[6] = static_cast<int>(__funnelshift_l(x, 0xdeadbeefu, 12));
  mine[7] = __clzll(static_cast<long long>(x));
  mine[8] = __dp4a(static_cast<int>(x), 0x01ff7f80, 5);
  mine[9] = __float2int_rn(__uint_as_float(x));
}

template <class T>
__global__ void atomics(T* cells) {
  const T t = static_cast<T>(threadIdx.x);
  atomicAdd(&cells[0], t);
  atomicMax(&cells[1], t);
  atomicMin(&cells[2], t);
  atomicOr(&cells[3], T(1) << (threadIdx.x % 31));
  atomicAnd(&cells[4], ~(T(1) << (threadIdx.x % 31)));
  atomicXor(&cells[5], t);
  atomicCAS(&cells[6], T(0), t + 1);  // only the first finds 0
  atomicExch(&cells[7], T(9));
}

template <class T>
__global__ void float_atomics(T* cells) {
  if (atomicAdd(cells, T(1.0f)) == T(3.0f)) cells[1] = T(1.0f);  // exactly one thread saw 3
}

__global__ void vector_load(const float4* in, float2* out) {
  const float4 v = __ldg(in + threadIdx.x);
  out[threadIdx.x] = make_float2(v.x + v.z, v.y + v.w);
}

// A producer and a consumer within one block, spinning.
__global__ void spin(volatile int* flag, int* out) {
  if (threadIdx.x == 0) {
    while (*flag == 0) __nanosleep(20);
    *out = 1;
  } else if (threadIdx.x == 63) {
    *flag = 1;
  }
}

__global__ void time_passes(long long* out) {
  const long long start = clock64();
  long long now = start;
  while (now == start) now = clock64();
  *out = now - start;
}

}  // namespace

TEST_CASE("a thread knows its indices") {
  DeviceArray<int> out(1000);
  gpu::launch("write_index", write_index, {.grid = 8, .block = 128}, out.data(), 1000);
  REQUIRE(out.host() == count_up(1000));

  const dim3 grid(3, 2, 2), block(5, 4, 3);
  DeviceArray<unsigned> cells(12 * 60);
  gpu::launch("write_index_3d", write_index_3d, {.grid = grid, .block = block}, cells.data());
  const auto values = cells.host();
  for (unsigned i = 0; i < values.size(); ++i) REQUIRE(values[i] == i / 60 * 1000 + i % 60);
}

TEST_CASE("shared memory and barriers") {
  for (int block : {1, 31, 32, 100, 256}) {
    CAPTURE(block);
    const auto size = static_cast<size_t>(block) * 4;
    DeviceArray<int> in(count_up(size)), out(size);
    gpu::launch("reverse", reverse,
                {.grid = 4,
                 .block = static_cast<unsigned>(block),
                 .dynamic_shared_bytes = static_cast<size_t>(block) * 4},
                in.data(), out.data());
    const auto values = out.host();
    for (int i = 0; i < block * 4; ++i)
      REQUIRE(values[static_cast<size_t>(i)] == i / block * block + block - 1 - i % block);
  }
}

TEST_CASE("barriers that vote") {
  for (int block : {96, 100, 1000}) {
    DeviceArray<int> out(static_cast<size_t>(block));
    gpu::launch("block_votes", block_votes, {.grid = 1, .block = static_cast<unsigned>(block)}, out.data());
    const int expected = (block + 2) / 3 * 10000 + 1000 + 10;
    REQUIRE(out.host() == std::vector<int>(static_cast<size_t>(block), expected));
  }
}

TEST_CASE("a sum by shuffles, shared memory and an atomic") {
  const int count = 100003;
  for (unsigned block : {32u, 64u, 1024u}) {
    DeviceArray<int> in(count_up(count)), out(std::vector<int>{0});
    gpu::launch("sum", sum<int>, {.grid = 7, .block = block}, in.data(), out.data(), count);
    REQUIRE(out.host()[0] == static_cast<int>(int64_t{count} * (count - 1) / 2));
  }
}

TEST_CASE("lanes of a warp exchange values") {
  DeviceArray<unsigned> out(32 * kWarpResults);
  gpu::launch("warp_exchanges", warp_exchanges, {.grid = 1, .block = 32}, out.data());
  const auto values = out.host();
  for (unsigned lane = 0; lane < 32; ++lane) {
    CAPTURE(lane);
    const unsigned* mine = &values[lane * kWarpResults];
    REQUIRE(mine[0] == 70);
    REQUIRE(mine[1] == lane / 8 * 8 + 2);
    REQUIRE(mine[2] == (lane < 3 ? lane : lane - 3));
    REQUIRE(mine[3] == (lane % 16 < 13 ? lane + 3 : lane));
    REQUIRE(mine[4] == (lane ^ 5));
    REQUIRE(mine[5] == 0x22222222u);
    REQUIRE(mine[6] == 2);
    REQUIRE(mine[7] == 2);
    unsigned peers = 0;
    for (unsigned other = lane % 3; other < 32; other += 3) peers |= 1u << other;
    REQUIRE(mine[8] == peers);
    REQUIRE(mine[9] == 0xffffffffu);
    REQUIRE(mine[10] == 1);
    REQUIRE(mine[11] == 496);
    REQUIRE(mine[12] == 31);
    REQUIRE(mine[13] == 1);
    REQUIRE(mine[14] == (lane < 16 ? lane ^ 1 : 16));
    REQUIRE(mine[15] == 0x40900000u);  // 4.5f
  }
}

TEST_CASE("lanes that returned take no part in a ballot") {
  DeviceArray<int> out(8);
  gpu::launch("shuffle_after_return", shuffle_after_return, {.grid = 1, .block = 32}, out.data());
  REQUIRE(out.host() == std::vector<int>(8, 0xff));
}

TEST_CASE("bit intrinsics") {
  const std::vector<unsigned> inputs = {0u,          1u,          0x80000000u,
                                        0xffffffffu, 0x12345678u, 0x40200000u /* 2.5f */};
  DeviceArray<unsigned> in(inputs);
  DeviceArray<int> out(inputs.size() * 10);
  gpu::launch("bits", bits, {.grid = 1, .block = static_cast<unsigned>(inputs.size())}, in.data(),
              out.data());
  const auto values = out.host();
  auto result = [&](size_t input, size_t what) { return static_cast<unsigned>(values[input * 10 + what]); };
  const unsigned popc[] = {0, 1, 1, 32, 13, 2}, ffs[] = {0, 1, 32, 1, 4, 22}, clz[] = {32, 31, 0, 0, 3, 1};
  for (size_t i = 0; i < inputs.size(); ++i) {
    CAPTURE(i);
    REQUIRE(result(i, 0) == popc[i]);
    REQUIRE(result(i, 1) == ffs[i]);
    REQUIRE(result(i, 2) == clz[i]);
    REQUIRE(result(i, 4) ==
            static_cast<unsigned>((static_cast<unsigned long long>(inputs[i]) * 0x87654321u) >> 32));
    REQUIRE(result(i, 6) == (0xdeadbeefu << 12 | inputs[i] >> 20));
    REQUIRE(result(i, 7) == clz[i] + 32);
  }
  REQUIRE(result(4, 3) == 0x1e6a2c48u);
  REQUIRE(result(4, 5) == 0x78344411u);  // the top bit of a selector's nibble counts for nothing
  REQUIRE(values[4 * 10 + 8] == 5 + 0x78 * -128 + 0x56 * 127 + 0x34 * -1 + 0x12 * 1);
  REQUIRE(result(5, 9) == 2);  // 2.5 rounds to even
}

TEMPLATE_TEST_CASE("integer atomics", "", int, unsigned, unsigned long long) {
  DeviceArray<TestType> cells(std::vector<TestType>{5, 0, 1000, 0, TestType(0x7fffffff), 0, 0, 0});
  gpu::launch("atomics", atomics<TestType>, {.grid = 3, .block = 100}, cells.data());
  const auto values = cells.host();
  REQUIRE(values[0] == 5 + 3 * 4950);
  REQUIRE(values[1] == 99);
  REQUIRE(values[2] == 0);
  REQUIRE(values[3] == 0x7fffffff);
  REQUIRE(values[4] == 0);
  REQUIRE(values[5] == 0);  // 0 ^ 1 ^ ... ^ 99, three times: 0 ^ that
  REQUIRE(values[6] >= 1);
  REQUIRE(values[6] <= 100);
  REQUIRE(values[7] == 9);
}

TEMPLATE_TEST_CASE("floating-point atomics", "", float, double, __half, __nv_bfloat16) {
  DeviceArray<TestType> cells(std::vector<TestType>{TestType(0.0f), TestType(0.0f)});
  gpu::launch("float_atomics", float_atomics<TestType>, {.grid = 2, .block = 64}, cells.data());
  const auto values = cells.host();
  REQUIRE(static_cast<float>(values[0]) == 128.0f);
  REQUIRE(static_cast<float>(values[1]) == 1.0f);
}

TEST_CASE("vector types load and store as one") {
  std::vector<float4> values;
  for (int i = 0; i < 40; ++i) values.push_back(make_float4(float(i), 1.0f, 2.0f, 3.0f));
  DeviceArray<float4> in(values);
  DeviceArray<float2> out(40);
  gpu::launch("vector_load", vector_load, {.grid = 1, .block = 40}, in.data(), out.data());
  const auto results = out.host();
  for (size_t i = 0; i < 40; ++i) {
    REQUIRE(results[i].x == float(i) + 2.0f);
    REQUIRE(results[i].y == 4.0f);
  }
  STATIC_REQUIRE(sizeof(float3) == 12);
  STATIC_REQUIRE(alignof(float4) == 16);
  STATIC_REQUIRE(alignof(int2) == 8);
  STATIC_REQUIRE(alignof(uchar4) == 4);
  STATIC_REQUIRE(sizeof(__half2) == 4);
}

TEST_CASE("a thread may spin on what another thread of its block writes") {
  DeviceArray<int> flag(std::vector<int>{0}), out(std::vector<int>{0});
  gpu::launch("spin", spin, {.grid = 1, .block = 64}, flag.data(), out.data());
  REQUIRE(out.host()[0] == 1);
}

TEST_CASE("clock64 advances") {
  DeviceArray<long long> out(1);
  gpu::launch("time_passes", time_passes, {.grid = 1, .block = 1}, out.data());
  REQUIRE(out.host()[0] > 0);
}

TEST_CASE("a launch that no device can run is refused by name") {
  DeviceArray<int> out(1);
  using Catch::Contains;
  REQUIRE_THROWS_WITH(gpu::launch("write_index", write_index, {.grid = 1, .block = 1025}, out.data(), 1),
                      Contains("write_index") && Contains("1025") && Contains("1024"));
  REQUIRE_THROWS_WITH(gpu::launch("write_index", write_index, {.grid = 0, .block = 32}, out.data(), 1),
                      Contains("grid (0, 1, 1)"));
  REQUIRE_THROWS_WITH(
      gpu::launch("write_index", write_index, {.grid = dim3(1, 70000), .block = 32}, out.data(), 1),
      Contains("65535"));
  REQUIRE_THROWS_WITH(gpu::launch("write_index", write_index,
                                  {.grid = 1, .block = 32, .dynamic_shared_bytes = 1 << 20}, out.data(), 1),
                      Contains("shared memory"));
}
