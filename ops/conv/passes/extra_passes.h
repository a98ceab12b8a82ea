#pragma once
// Passes for algorithms that compute the plain convolution alone: they do what else a call asks for. A list
// is made for one problem and stays unchanged where `call` asks for nothing else.

#include <vector>

#include "taper/ops/conv/conv2d_call.h"

namespace taper::ops {

/// Computes call.moments from the result, after each algorithm.
std::vector<Algorithm> with_moments_after(const Conv2dCall& call, std::vector<Algorithm> list);
/// For algorithms that compute with_rounded_weight(call): converts the weight's gradient to call's dtype, after
/// each algorithm.
std::vector<Algorithm> with_weight_cast_after(std::vector<Algorithm> list);
/// Returns `call` with a new tensor for the weight's gradient, in the dtype of the other tensors.
Conv2dCall with_rounded_weight(const Conv2dCall& call);
/// Writes the prologue's relu(x * scale + shift) to memory, before each algorithm.
std::vector<Algorithm> with_prologue_before(const Conv2dCall& call, std::vector<Algorithm> list);
/// Widens a call's 16-bit tensors to f32 before each algorithm, and rounds the result after it. Computes no
/// moments: those of the rounded result are with_moments_after()'s.
std::vector<Algorithm> with_casts_around(std::vector<Algorithm> list);

}  // namespace taper::ops
