#pragma once
// Mean and variance of each channel of an image batch, which batch norm in training computes first. A
// convolution can give its result's moments at little cost (conv2d_moments() in ops/conv/conv2d.h), and batch
// norm then reads that result once less. PyTorch's counterpart: torch.var_mean.

#include "taper/core/tensor.h"

namespace taper {

/// The moments of an x over all axes but its channels (axis 1), in x's compute dtype; or of a batch that x is a
/// part of.
struct BatchMoments {
  Tensor mean = {};   ///< [C]
  Tensor var = {};    ///< [C]; biased: divided by the number of values
  Tensor count = {};  ///< f64 []: values of a channel; undefined: as many as x has
};

namespace ops {

/// Returns the moments of x: [N, C] or [N, C, H, W], f32, f64, f16 or bf16. NaN where there are no values. A
/// channel's variance does not cancel however far its values are from zero. Throws Error for any other x.
BatchMoments batch_moments(const Tensor& x);

/// Writes the moments of a dense, non-empty x in channels_last memory to `to`. For other ops.
void batch_moments_of(const Tensor& x, const BatchMoments& to);

}  // namespace ops
}  // namespace taper
