// The reductions of warps and blocks, alone.

#include <catch2/catch.hpp>
#include <cmath>

#include "taper/core/gpu/launch.h"
#include "taper/ops/reduce/block_reduce.cuh"
#include "tests/support/gpu_array.h"

using namespace taper;

namespace {

template <class T, class Op>
__global__ void fold_blocks(const T* x, T* y, Op op) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  // Twice in a row: the second call must not disturb the first.
  const T once = ops::block_reduce(x[i], op);
  y[i] = op(once, ops::block_reduce(x[i], op));
}

template <int kLanes, class T, class Op>
__global__ void fold_lanes(const T* x, T* y, Op op) {
  y[threadIdx.x] = ops::warp_reduce<kLanes>(x[threadIdx.x], op);
}

/// A stretch of a sequence. Joined in any order other than the threads', it comes out broken.
struct Stretch {
  int first, last, broken;
};
struct Join {
  __device__ Stretch operator()(Stretch a, Stretch b) const {
    return {a.first, b.last, a.broken | b.broken | int(a.last + 1 != b.first)};
  }
};

/// y = x folded in blocks of `block`; every thread writes its result.
template <class T, class Op>
std::vector<T> folded(const std::vector<T>& x, unsigned block, Op op) {
  const test::DeviceArray<T> in(x), out(x.size());
  gpu::launch("fold_blocks", fold_blocks<T, Op>, {.grid = unsigned(x.size()) / block, .block = block},
              in.data(), out.data(), op);
  return out.host();
}

}  // namespace

TEST_CASE("a block's reduction reaches every thread") {
  for (const unsigned block : {32u, 64u, 96u, 256u, 1024u}) {
    std::vector<int> numbers(block * 2);
    std::vector<double> reals(block * 2);
    for (size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = int(i * 7919 % 1009);
      reals[i] = std::sin(double(i));
    }
    const auto sums = folded(numbers, block, ops::fold::Sum());
    const auto largest = folded(reals, block, ops::fold::Max()),
               smallest = folded(reals, block, ops::fold::Min());
    for (unsigned first = 0; first < numbers.size(); first += block) {
      int sum = 0;
      for (unsigned i = 0; i < block; ++i) sum += numbers[first + i];
      const auto begin = reals.begin() + first, end = begin + block;
      for (unsigned i = first; i < first + block; ++i) {
        REQUIRE(sums[i] == 2 * sum);
        REQUIRE(largest[i] == *std::max_element(begin, end));
        REQUIRE(smallest[i] == *std::min_element(begin, end));
      }
    }
  }
}

TEST_CASE("reductions fold in the order of the threads") {
  std::vector<Stretch> x;
  for (int i = 0; i < 256; ++i) x.push_back({i, i, 0});
  const test::DeviceArray<Stretch> in(x), out(32);
  gpu::launch("fold_lanes", fold_lanes<8, Stretch, Join>, {.grid = 1, .block = 32}, in.data(), out.data(),
              Join());
  const std::vector<Stretch> of_eight = out.host();
  for (int i = 0; i < 32; ++i) {
    CHECK(of_eight[size_t(i)].first == i / 8 * 8);
    CHECK(of_eight[size_t(i)].last == i / 8 * 8 + 7);
    CHECK(of_eight[size_t(i)].broken == 0);
  }
  for (const Stretch& whole : folded(x, 256, Join())) {
    REQUIRE(whole.first == 0);
    REQUIRE(whole.last == 255);
    REQUIRE(whole.broken == 1);  // joined with itself at last
  }
}

TEST_CASE("a NaN outlives every reduction of floats, with the same bits in all threads") {
  std::vector<float> x(128, 1.0f);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 1.0f / float(i + 1);
  const std::vector<float> sums = folded(x, 128, ops::fold::Sum());
  for (const float sum : sums) REQUIRE(sum == sums[0]);
  x[77] = NAN;
  for (const float value : folded(x, 128, ops::fold::Max())) REQUIRE(std::isnan(value));
  for (const float value : folded(x, 128, ops::fold::Min())) REQUIRE(std::isnan(value));
}
