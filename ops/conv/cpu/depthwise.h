#pragma once
// Depthwise convolution: as many groups as channels, one input and one output channel in each. There is no
// matrix to multiply. Plain loops over the channels of a pixel, one lane for each, are limited by memory.

#include "taper/ops/conv/conv2d_geometry.h"

namespace taper::ops {

/// Arguments as for implicit_gemm.h; conv.is_depthwise().
template <class T>
void depthwise_forward_cpu(const Conv2dGeometry& conv, const T* x, const T* weight,
                           const ConvEpilogue<T>& epilogue, T* y);
template <class T>
void depthwise_backward_input_cpu(const Conv2dGeometry& conv, const T* grad, const T* weight, T* grad_x);
template <class T>
void depthwise_backward_weight_cpu(const Conv2dGeometry& conv, const T* grad, const T* x, T* grad_weight);

}  // namespace taper::ops
