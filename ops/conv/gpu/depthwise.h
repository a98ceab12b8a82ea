#pragma once
// Depthwise convolution on the GPU: as many groups as channels, one filter each. There is no matrix to
// multiply, only memory to read. Arguments are checked; images and weights are channels_last. The functions
// only enqueue, on the current stream of the current device.

#include "taper/core/tensor.h"
#include "taper/ops/conv/conv2d_call.h"

namespace taper::ops {

/// call.pass is kForward; with the epilogue.
void depthwise_forward_gpu(const Conv2dCall& call);

void depthwise_backward_input_gpu(const Conv2dGeometry& conv, const Tensor& grad, const Tensor& weight,
                                  const Tensor& grad_x);

/// grad_weight may be f32 where grad and x are half types.
void depthwise_backward_weight_gpu(const Conv2dGeometry& conv, const Tensor& grad, const Tensor& x,
                                   const Tensor& grad_weight);

}  // namespace taper::ops
