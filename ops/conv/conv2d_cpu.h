#pragma once
// The CPU's convolutions: float or double, channels_last memory ([N, H, W, C] images, [K, R, S, C / groups]
// weights), everything checked and allocated by conv2d.cpp.

#include "taper/ops/conv/conv2d_geometry.h"

namespace taper::ops {

/// bias may be null.
template <class T>
void conv2d_cpu(const Conv2dGeometry& conv, const T* x, const T* weight, const T* bias, T* y);
template <class T>
void conv2d_backward_input_cpu(const Conv2dGeometry& conv, const T* grad, const T* weight, T* grad_x);
template <class T>
void conv2d_backward_weight_cpu(const Conv2dGeometry& conv, const T* grad, const T* x, T* grad_weight);

}  // namespace taper::ops
