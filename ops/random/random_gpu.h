#pragma once
// The GPU's random fills, of the CPU's numbers; the checks are made in random.cpp. All only enqueue.

#include "taper/core/generator.h"
#include "taper/core/tensor.h"

namespace taper::ops {

// x: row-major and not empty. `state` is the first counter reserved for it.
void uniform_gpu(const Tensor& x, double low, double high, GeneratorState state);
void normal_gpu(const Tensor& x, double mean, double std, GeneratorState state);
void bernoulli_gpu(const Tensor& x, double p, GeneratorState state);
/// range = high - low; `wide` ranges need 64 random bits.
void randint_gpu(const Tensor& x, int64_t low, uint64_t range, bool wide, GeneratorState state);

/// mask = true with probability `keep`, y = mask ? x * scale : 0. All of one shape, row-major, not empty; x
/// and y of one floating-point dtype.
void dropout_gpu(const Tensor& x, const Tensor& y, const Tensor& mask, double keep, double scale,
                 GeneratorState state);

}  // namespace taper::ops
