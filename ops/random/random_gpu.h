#pragma once
// The GPU's random fills, with the CPU's numbers. random.cpp has checked the arguments. All functions only
// enqueue.

#include "taper/core/generator.h"
#include "taper/core/tensor.h"

namespace taper::ops {

// x: row-major and not empty. `state` holds the first counter reserved for it.
void uniform_gpu(const Tensor& x, double low, double high, GeneratorState state);
void normal_gpu(const Tensor& x, double mean, double std, GeneratorState state);
void bernoulli_gpu(const Tensor& x, double p, GeneratorState state);
/// range = high - low; `wide` ranges need 64 random bits.
void randint_gpu(const Tensor& x, int64_t low, uint64_t range, bool wide, GeneratorState state);

/// Sets mask to true with probability `keep`, and y to mask ? x * scale : 0. All have one shape, are
/// row-major and not empty; x and y have one floating-point dtype.
void dropout_gpu(const Tensor& x, const Tensor& y, const Tensor& mask, double keep, double scale,
                 GeneratorState state);

}  // namespace taper::ops
