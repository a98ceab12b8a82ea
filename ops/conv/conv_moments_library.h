#pragma once
// Convolutions with moments from a vendor's library: engines that sum their result and its squares as they
// write it (cuDNN: GENSTATS), and a kernel of Taper's that makes mean and variance of the sums.
//
// The sums are f32, and a variance is the small difference of two of them where the mean is large: its
// relative error is about 1e-6 (1 + mean^2 / variance). Values in f16 or bf16 that far from zero have lost as
// much to their own rounding, f32 has not. So f32 has no such candidates, and the estimated cost of the
// others is that of the last resort: they are taken where they were measured to be the fastest.

#include <vector>

#include "taper/ops/conv/conv2d_call.h"

namespace taper::ops {

/// For a call on the GPU with moments and elements; empty if engine_library() offers nothing.
std::vector<Candidate<Conv2dCall>> conv_moments_library_candidates(const Conv2dCall& call);

}  // namespace taper::ops
