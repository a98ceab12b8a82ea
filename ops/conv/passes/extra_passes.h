#pragma once
// What a call may ask for besides the convolution, as passes of their own, for algorithms that compute the
// plain convolution alone. Lists are made for one problem, so these change nothing where `call` does not ask.

#include <vector>

#include "taper/ops/conv/conv2d_call.h"

namespace taper::ops {

/// Computes call.moments from the result, after each algorithm.
std::vector<Algorithm> with_moments_after(const Conv2dCall& call, std::vector<Algorithm> list);
/// Writes the prologue's relu(x * scale + shift) to memory, before each algorithm.
std::vector<Algorithm> with_prologue_before(const Conv2dCall& call, std::vector<Algorithm> list);

}  // namespace taper::ops
