#pragma once
// Passes for algorithms that compute the plain convolution alone: they do what else a call asks for. A list
// is made for one problem and stays unchanged where `call` asks for nothing else.

#include <vector>

#include "taper/ops/conv/conv2d_call.h"

namespace taper::ops {

/// Computes call.moments from the result, after each algorithm.
std::vector<Algorithm> with_moments_after(const Conv2dCall& call, std::vector<Algorithm> list);
/// Writes the prologue's relu(x * scale + shift) to memory, before each algorithm.
std::vector<Algorithm> with_prologue_before(const Conv2dCall& call, std::vector<Algorithm> list);

}  // namespace taper::ops
