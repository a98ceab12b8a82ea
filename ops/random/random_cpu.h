#pragma once
// The CPU's random fills; the checks are made in random.cpp.

#include "taper/core/generator.h"
#include "taper/core/tensor.h"

namespace taper::ops {

// x: row-major and not empty. `state` is the first counter reserved for it.
void uniform_cpu(const Tensor& x, double low, double high, GeneratorState state);
void normal_cpu(const Tensor& x, double mean, double std, GeneratorState state);
void bernoulli_cpu(const Tensor& x, double p, GeneratorState state);
/// range = high - low; `wide` ranges need 64 random bits.
void randint_cpu(const Tensor& x, int64_t low, uint64_t range, bool wide, GeneratorState state);

/// x: i64 [n] with 0, 1, ...; sorts them by 64 random bits each (position as tie-breaker).
void shuffle_cpu(const Tensor& x, GeneratorState state);

}  // namespace taper::ops
