#include "taper/ops/random/random_cpu.h"

#include <algorithm>
#include <vector>

#include "taper/core/base/parallel.h"
#include "taper/ops/copy/strided_loop.h"
#include "taper/ops/random/draws.h"

namespace taper::ops {
namespace {

/// Fills x with draws, each from a block of 128 random bits.
template <class T, class Draw>
void fill_blocks(const Tensor& x, GeneratorState state, const Draw& draw) {
  constexpr int kPerBlock = Draw::kPerBlock;
  LoopOperand out{static_cast<char*>(x.data_ptr()), x.dtype(), {1}};
  const Shape shape = {x.numel()};
  const Philox philox{state.seed};
  parallel_for(x.numel(), kGrainSize, [&](int64_t begin, int64_t end) {
    T buffer[kBlockSize];
    for (int64_t at = begin; at < end; at += kBlockSize) {
      const int64_t count = std::min(kBlockSize, end - at);
      // kBlockSize is a multiple of kPerBlock. The last block may fill more of the buffer than is stored.
      for (int64_t i = 0; i < count; i += kPerBlock) {
        draw(philox(state.counter + uint64_t((at + i) / kPerBlock)), buffer + i);
      }
      store_block(out, shape, at, count, buffer);
    }
  });
}

}  // namespace

void uniform_cpu(const Tensor& x, double low, double high, GeneratorState state) {
  if (x.dtype() == kFloat64) {
    return fill_blocks<double>(x, state, UniformDraw<double>{low, high - low});
  }
  fill_blocks<float>(x, state, UniformDraw<float>{float(low), float(high - low)});
}

void normal_cpu(const Tensor& x, double mean, double std, GeneratorState state) {
  if (x.dtype() == kFloat64) return fill_blocks<double>(x, state, NormalDraw<double>{mean, std});
  fill_blocks<float>(x, state, NormalDraw<float>{float(mean), float(std)});
}

void bernoulli_cpu(const Tensor& x, double p, GeneratorState state) {
  if (x.dtype() == kBool) return fill_blocks<bool>(x, state, BernoulliDraw(p));
  fill_blocks<float>(x, state, BernoulliDraw(p));
}

void randint_cpu(const Tensor& x, int64_t low, uint64_t range, bool wide, GeneratorState state) {
  if (wide) return fill_blocks<int64_t>(x, state, WideIntegerDraw{low, range});
  fill_blocks<int64_t>(x, state, IntegerDraw{low, range});
}

void shuffle_cpu(const Tensor& x, GeneratorState state) {
  const Philox philox{state.seed};
  const int64_t count = x.numel();
  std::vector<std::pair<uint64_t, int64_t>> keyed{size_t(count)};
  for (int64_t i = 0; i < count; ++i) {
    const RandomBits bits = philox(state.counter + uint64_t(i / 2));
    const int lane = int(i % 2) * 2;
    keyed[size_t(i)] = {uint64_t(bits[lane]) << 32 | bits[lane + 1], i};
  }
  std::sort(keyed.begin(), keyed.end());
  for (int64_t i = 0; i < count; ++i) x.data<int64_t>()[i] = keyed[size_t(i)].second;
}

}  // namespace taper::ops
