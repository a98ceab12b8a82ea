#pragma once
// Depthwise convolution on the GPU: as many groups as channels, one filter each. There is no matrix to
// multiply, only memory to read. Arguments are checked, images and weights channels_last, bias contiguous
// or undefined. Only enqueue, on the current stream of the
// current device.

#include "taper/core/tensor.h"
#include "taper/ops/conv/conv2d_geometry.h"

namespace taper::ops {

void depthwise_forward_gpu(const Conv2dGeometry& conv, const Tensor& x, const Tensor& weight,
                           const Tensor& bias, const Tensor& y);

void depthwise_backward_input_gpu(const Conv2dGeometry& conv, const Tensor& grad, const Tensor& weight,
                                  const Tensor& grad_x);

void depthwise_backward_weight_gpu(const Conv2dGeometry& conv, const Tensor& grad, const Tensor& x,
                                   const Tensor& grad_weight);

}  // namespace taper::ops
