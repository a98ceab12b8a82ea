#include "taper/ops/random/random_cpu.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "taper/core/parallel.h"
#include "taper/ops/copy/strided_loop.h"

namespace taper::ops {
namespace {

/// Fills x with values made from blocks of 128 random bits: make(bits, values) writes kPerBlock of type T.
template <int kPerBlock, class T, class Make>
void fill_blocks(const Tensor& x, GeneratorState state, Make make) {
  LoopOperand out{static_cast<char*>(x.data_ptr()), x.dtype(), {1}};
  const Shape shape = {x.numel()};
  const Philox philox{state.seed};
  parallel_for(x.numel(), kGrainSize, [&](int64_t begin, int64_t end) {
    T buffer[kBlockSize];
    for (int64_t at = begin; at < end; at += kBlockSize) {
      const int64_t count = std::min(kBlockSize, end - at);
      // kBlockSize is a multiple of kPerBlock: the last block may fill more of the buffer than is stored.
      for (int64_t i = 0; i < count; i += kPerBlock) {
        make(philox(state.counter + uint64_t((at + i) / kPerBlock)), buffer + i);
      }
      store_block(out, shape, at, count, buffer);
    }
  });
}

using Bits = std::array<uint32_t, 4>;

/// Two independent normal numbers from two uniform ones; 1 - u keeps the logarithm away from 0.
template <class T>
void box_muller(T u, T v, T mean, T std, T* values) {
  const T radius = std * std::sqrt(T(-2) * std::log(T(1) - u));
  const T angle = T(6.28318530717958647692) * v;
  values[0] = mean + radius * std::cos(angle);
  values[1] = mean + radius * std::sin(angle);
}

}  // namespace

void uniform_cpu(const Tensor& x, double low, double high, GeneratorState state) {
  const double span = high - low;
  if (x.dtype() == kFloat64) {
    return fill_blocks<2, double>(x, state, [=](const Bits& bits, double* values) {
      values[0] = low + span * uniform_double(bits[0], bits[1]);
      values[1] = low + span * uniform_double(bits[2], bits[3]);
    });
  }
  fill_blocks<4, float>(x, state, [=](const Bits& bits, float* values) {
    for (size_t i = 0; i < 4; ++i) values[i] = float(low) + float(span) * uniform_float(bits[i]);
  });
}

void normal_cpu(const Tensor& x, double mean, double std, GeneratorState state) {
  if (x.dtype() == kFloat64) {
    return fill_blocks<2, double>(x, state, [=](const Bits& bits, double* values) {
      box_muller(uniform_double(bits[0], bits[1]), uniform_double(bits[2], bits[3]), mean, std, values);
    });
  }
  fill_blocks<4, float>(x, state, [=](const Bits& bits, float* values) {
    for (size_t i = 0; i < 4; i += 2) {
      box_muller(uniform_float(bits[i]), uniform_float(bits[i + 1]), float(mean), float(std), values + i);
    }
  });
}

void bernoulli_cpu(const Tensor& x, double p, GeneratorState state) {
  // uniform_float(bits) < p, in whole numbers.
  const auto threshold = uint32_t(std::ceil(p * 0x1p24));
  const auto draw = [=](const Bits& bits, auto* values) {
    for (size_t i = 0; i < 4; ++i) values[i] = bits[i] >> 8 < threshold;
  };
  if (x.dtype() == kBool) return fill_blocks<4, bool>(x, state, draw);
  fill_blocks<4, float>(x, state, draw);
}

void randint_cpu(const Tensor& x, int64_t low, uint64_t range, bool wide, GeneratorState state) {
  if (wide) {
    return fill_blocks<2, int64_t>(x, state, [=](const Bits& bits, int64_t* values) {
      for (size_t i = 0; i < 2; ++i) {
        const uint64_t drawn = uint64_t(bits[2 * i]) << 32 | bits[2 * i + 1];
        values[i] = int64_t(uint64_t(low) + drawn % range);
      }
    });
  }
  fill_blocks<4, int64_t>(x, state, [=](const Bits& bits, int64_t* values) {
    for (size_t i = 0; i < 4; ++i) values[i] = int64_t(uint64_t(low) + (bits[i] * range >> 32));
  });
}

void shuffle_cpu(const Tensor& x, GeneratorState state) {
  const Philox philox{state.seed};
  const int64_t count = x.numel();
  std::vector<std::pair<uint64_t, int64_t>> keyed{size_t(count)};
  for (int64_t i = 0; i < count; ++i) {
    const Bits bits = philox(state.counter + uint64_t(i / 2));
    const size_t lane = size_t(i % 2) * 2;
    keyed[size_t(i)] = {uint64_t(bits[lane]) << 32 | bits[lane + 1], i};
  }
  std::sort(keyed.begin(), keyed.end());
  for (int64_t i = 0; i < count; ++i) x.data<int64_t>()[i] = keyed[size_t(i)].second;
}

}  // namespace taper::ops
