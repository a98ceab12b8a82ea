#pragma once
// The GPU's convolutions; conv2d.cpp has checked the arguments. All tensors of one dtype, images and weights
// channels_last. Only enqueues, on the current stream of the tensors' device.

#include "taper/core/tensor.h"
#include "taper/ops/conv/conv2d_geometry.h"

namespace taper::ops {

/// bias: contiguous or undefined.
void conv2d_gpu(const Conv2dGeometry& conv, const Tensor& x, const Tensor& weight, const Tensor& bias,
                const Tensor& y);

void conv2d_backward_input_gpu(const Conv2dGeometry& conv, const Tensor& grad, const Tensor& weight,
                               const Tensor& grad_x);

void conv2d_backward_weight_gpu(const Conv2dGeometry& conv, const Tensor& grad, const Tensor& x,
                                const Tensor& grad_weight);

}  // namespace taper::ops
