#pragma once
// The CPU's random fills. random.cpp has checked the arguments.

#include "taper/core/generator.h"
#include "taper/core/tensor.h"

namespace taper::ops {

// x: row-major and not empty. `state` holds the first counter reserved for it.
void uniform_cpu(const Tensor& x, double low, double high, GeneratorState state);
void normal_cpu(const Tensor& x, double mean, double std, GeneratorState state);
void bernoulli_cpu(const Tensor& x, double p, GeneratorState state);
/// range = high - low; `wide` ranges need 64 random bits.
void randint_cpu(const Tensor& x, int64_t low, uint64_t range, bool wide, GeneratorState state);

/// Sorts x, which is i64 [n] with 0, 1, ..., by 64 random bits for each element, with the position as
/// tie-breaker.
void shuffle_cpu(const Tensor& x, GeneratorState state);

}  // namespace taper::ops
