#pragma once
// The GPU's random fills, with the CPU's numbers. random.cpp has checked the arguments. All functions only
// enqueue.

#include <array>

#include "taper/core/generator.h"
#include "taper/core/tensor.h"

namespace taper::ops {

// x: row-major and not empty. `range` holds the counters reserved for it.
void uniform_gpu(const Tensor& x, double low, double high, const DrawnRange& range);
void normal_gpu(const Tensor& x, double mean, double std, const DrawnRange& range);
void bernoulli_gpu(const Tensor& x, double p, const DrawnRange& range);
/// span = high - low; `wide` ranges need 64 random bits.
void randint_gpu(const Tensor& x, int64_t low, uint64_t span, bool wide, const DrawnRange& range);

/// Sets mask to true with probability `keep`, and y to mask ? x * scale : 0. All have one shape, are
/// row-major and not empty; x and y have one floating-point dtype.
void dropout_gpu(const Tensor& x, const Tensor& y, const Tensor& mask, double keep, double scale,
                 const DrawnRange& range);

/// Writes states[i] to to[i], for at most kMostStates generators.
inline constexpr size_t kMostStates = 4;
void write_states_gpu(GeneratorState* to, const std::array<GeneratorState, kMostStates>& states,
                      Device device);

}  // namespace taper::ops
