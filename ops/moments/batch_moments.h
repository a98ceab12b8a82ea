#pragma once
// Mean and variance of each channel of an image batch: what batch norm in training computes from its input
// first. A convolution can give those of its result at little cost (conv2d_moments() in ops/conv/conv2d.h),
// and batch norm then reads that result once less. PyTorch's counterpart: torch.var_mean.

#include "taper/core/tensor.h"

namespace taper {

/// Over all axes of some x but its channels (axis 1), in x's compute dtype.
struct BatchMoments {
  Tensor mean = {};  ///< [C]
  Tensor var = {};   ///< [C]; biased: divided by the number of values
};

namespace ops {

/// x: [N, C] or [N, C, H, W], f32, f64, f16 or bf16. NaN where there are no values. However far from zero a
/// channel lies, its variance does not cancel. Throws Error if x is something else.
BatchMoments batch_moments(const Tensor& x);

/// The same, of a dense x in channels_last memory that has elements, into what is there. For other ops.
void batch_moments_of(const Tensor& x, const BatchMoments& to);

}  // namespace ops
}  // namespace taper
