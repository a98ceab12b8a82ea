#pragma once
// Convolution as a matrix product on the CPU, for any shape. One matrix has a row for each pixel and a column
// for each (tap, channel) that it sees; the other is the weights. The first matrix is never stored: it is
// packed for the product's kernel straight from the image (source_columns.h). float or double, channels_last
// memory ([N, H, W, C] images, [K, R, S, C / groups] weights), checked and allocated by conv2d.cpp.

#include "taper/ops/conv/conv2d_geometry.h"
#include "taper/ops/gemm/cpu/gemm_pack.h"
#include "taper/ops/moments/chunk_moments_cpu.h"

namespace taper::ops {

/// The weight prepacked for the forward pass: one packed matrix [R * S * C / groups, K / groups] for each
/// group. Does not depend on the images' size.
template <class T>
std::vector<PackedColumns<T>> implicit_gemm_pack_weight(const Conv2dGeometry& conv, const T* weight);

/// With `moments`, also gathers those of y's channels, while y is in registers.
template <class T>
void implicit_gemm_forward_cpu(const Conv2dGeometry& conv, const T* x,
                               const std::vector<PackedColumns<T>>& weight, const ConvEpilogue<T>& epilogue,
                               T* y, const ChannelMoments<T>& moments = {});
template <class T>
void implicit_gemm_backward_input_cpu(const Conv2dGeometry& conv, const T* grad, const T* weight, T* grad_x);
template <class T>
void implicit_gemm_backward_weight_cpu(const Conv2dGeometry& conv, const T* grad, const T* x, T* grad_weight);

}  // namespace taper::ops
