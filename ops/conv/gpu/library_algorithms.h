#pragma once
// Convolutions by a vendor's library: engines for the convolution alone, and, where a call has a prologue or
// wants moments, engines that do part of that as they read or write (cuDNN: scale-bias-ReLU, GENSTATS). What
// an engine does not do, a pass of Taper's does before or after it.
//
// Libraries give sums of the result and of its squares, and a variance is the small difference of two of them
// where the mean is large: in f32 its relative error is about 1e-6 (1 + mean^2 / variance). Values in f16 or
// bf16 that far from zero have lost as much to their own rounding, f32 has not. So sums are asked for with
// half types alone, and their rank is that of the last resort: they are taken where they were measured to be
// the fastest.

#include <vector>

#include "taper/ops/conv/conv2d_call.h"

namespace taper::ops {

/// Returns what cuDNN offers for a call on the GPU. Nothing if there is no library, or if the call is f64 or
/// empty.
std::vector<Algorithm> conv2d_library_algorithms(const Conv2dCall& call);

}  // namespace taper::ops
