#pragma once
// Differentiable convolution. Convolution is linear in the image and in the weight, so with a third factor,
// the output's gradient g, there is one trilinear form
//
//   F(x, w, g) = sum(g * conv2d(x, w))
//              = sum(x * conv2d_backward_input(g, w))
//              = sum(w * conv2d_backward_weight(g, x))
//
// Each of the three functions is F's gradient with respect to the factor that it does not take. Hence the
// derivative of each is made of the other two, and convolutions can be differentiated any number of times.
// PyTorch's counterpart: convolution_backward and convolution_double_backward, which spells out the second
// order.

#include "taper/core/tensor.h"
#include "taper/ops/conv/conv2d.h"

namespace taper {

/// Shapes, dtypes and errors as documented in ops/conv/conv2d.h; any order of derivatives.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              const Conv2dOptions& options = {});
/// Returns relu(conv2d(x, weight) + bias + residual), computed in one pass. With a prologue, x is
/// relu(x * scale + shift), which backward computes again.
Tensor conv2d_fused(const Tensor& x, const Tensor& weight, const Conv2dEpilogue& epilogue,
                    const Conv2dOptions& options = {}, const Conv2dPrologue& prologue = {});
/// Returns conv2d(x, weight) and the moments of that for the batch norm that follows. Only y is
/// differentiable: the batch norm's gradient takes account of the moments.
Conv2dMoments conv2d_moments(const Tensor& x, const Tensor& weight, const Conv2dOptions& options = {},
                             const Conv2dPrologue& prologue = {});
Tensor conv2d_backward_input(const Tensor& grad, const Tensor& weight, const Shape& input_shape,
                             const Conv2dOptions& options = {});
Tensor conv2d_backward_weight(const Tensor& grad, const Tensor& x, const Shape& weight_shape,
                              const Conv2dOptions& options = {}, std::optional<DType> weight_dtype = {});

}  // namespace taper
