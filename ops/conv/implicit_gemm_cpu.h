#pragma once
// Convolution as a product of matrices on the CPU, any shape: one matrix has a row for each pixel and a
// column for each (tap, channel) that it sees, the other is the weights. The first is never written down: it
// is packed for the product's kernel straight from the picture (source_columns.h). float or double,
// channels_last memory ([N, H, W, C] images, [K, R, S, C / groups] weights), checked and allocated by
// conv2d.cpp.

#include "taper/ops/conv/conv2d_geometry.h"

namespace taper::ops {

template <class T>
void implicit_gemm_forward_cpu(const Conv2dGeometry& conv, const T* x, const T* weight,
                               const ConvEpilogue<T>& epilogue, T* y);
template <class T>
void implicit_gemm_backward_input_cpu(const Conv2dGeometry& conv, const T* grad, const T* weight, T* grad_x);
template <class T>
void implicit_gemm_backward_weight_cpu(const Conv2dGeometry& conv, const T* grad, const T* x, T* grad_weight);

}  // namespace taper::ops
