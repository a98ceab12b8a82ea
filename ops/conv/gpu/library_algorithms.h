#pragma once
// Convolutions by a vendor's library: engines for the convolution alone, and, where a call has a prologue or
// wants moments, engines that do part of that as they read or write (cuDNN: scale-bias-ReLU, GENSTATS). A
// pass of Taper's, before or after, does what an engine leaves out.
//
// Libraries give sums of the result and of its squares. Where the mean is large, the variance is a small
// difference of two such sums: in f32 its relative error is about 1e-6 (1 + mean^2 / variance). f16 and bf16
// values that far from zero have lost as much to rounding; f32 values have not. So only half types use sums.
// These engines rank last: they run only where measurements found them fastest.
//
// A weight's gradient in f32 from half types has few engines, and none if there are 3 channels. So engines
// that round it to half are listed, too, with a pass that converts it.

#include <vector>

#include "taper/ops/conv/conv2d_call.h"

namespace taper::ops {

/// Returns cuDNN's engines for a call on the GPU: none without the library, or if the call is f64 or empty.
std::vector<Algorithm> conv2d_library_algorithms(const Conv2dCall& call);

}  // namespace taper::ops
