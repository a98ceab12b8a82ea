#pragma once
// The three convolutions as matrix products over gathered pixels, one product for each group. Arguments are
// checked; images and weights are channels_last in device memory. For .cu files only. T: float, double,
// __half or __nv_bfloat16.

#include "taper/ops/conv/conv2d_geometry.h"
#include "taper/ops/gemm/gpu/gemm.h"
#include "taper/ops/moments/channel_statistics_gpu.h"

namespace taper::ops {

/// y[pixel, k] = sum over (r, s, c) of x[pixel sees (r, s), c] * weight[k, (r, s, c)], then the epilogue.
template <class T>
void implicit_gemm_forward(const Conv2dGeometry& conv, const void* x, const void* weight,
                           const ConvEpilogue<T>& epilogue, void* y, GemmTiles tiles);

/// The forward pass without an epilogue. Returns the moments of y's channels over chunks of pixels, gathered
/// before y is stored; nothing if the sum was split over blocks. Not for f64.
template <class T>
PartialMoments implicit_gemm_forward_moments(const Conv2dGeometry& conv, const void* x, const void* weight,
                                             void* y, GemmTiles tiles);

/// grad_x[pixel, c] = sum over (r, s, k) of grad[pixel is seen through (r, s), k] * weight[k, (r, s), c].
/// With a stride, input pixels fall into stride.h * stride.w phases that are seen through different taps.
/// Each phase is one product, so no multiplication meets a zero between strided pixels.
template <class T>
void implicit_gemm_backward_input(const Conv2dGeometry& conv, const void* grad, const void* weight,
                                  void* grad_x, GemmTiles tiles);

/// grad_weight[k, (r, s, c)] = sum over pixels of grad[pixel, k] * x[pixel sees (r, s), c].
/// With f32_result grad_weight is f32, where T is a half type.
template <class T>
void implicit_gemm_backward_weight(const Conv2dGeometry& conv, const void* grad, const void* x,
                                   void* grad_weight, bool f32_result, GemmTiles tiles);

}  // namespace taper::ops
