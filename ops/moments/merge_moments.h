#pragma once
// The moments of a batch from those of its parts, which different ranks have.

#include "taper/ops/moments/batch_moments.h"

namespace taper::ops {

/// Returns the moments of all parts together. parts: contiguous f32 or f64 [parts, 1 + 2 * C]; a row has the number
/// of values of each channel, the means, and the biased variances. Those of a part without values are not read.
/// Merges in f64. Throws Error for other `parts`. Chan, Golub and LeVeque, 1979.
BatchMoments merge_moments(const Tensor& parts);

}  // namespace taper::ops
