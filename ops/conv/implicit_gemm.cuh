#pragma once
// implicit_gemm.h's definitions. Half types are instantiated in a file of their own, because compiling the
// main loops takes a while.

#include <numeric>

#include "taper/ops/conv/conv_operands.cuh"
#include "taper/ops/conv/implicit_gemm.h"
#include "taper/ops/matmul/gemm_launch.cuh"

namespace taper::ops {

/// Rows of channels, of which each group has its part, can be moved 16 bytes at a time.
template <class T>
bool has_channel_vectors(const void* data, int64_t group_channels) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && group_channels % kVectorOf<T> == 0;
}

/// How output pixels see input pixels along one axis.
inline ConvAxis forward_axis(int64_t input, int64_t output, int64_t kernel, int64_t stride, int64_t padding,
                             int64_t dilation) {
  return {.pixels = output,
          .step = stride,
          .origin = -padding,
          .taps = kernel,
          .tap_step = dilation,
          .source = input};
}
inline ConvAxis forward_y(const Conv2dGeometry& conv) {
  const Conv2dOptions& o = conv.options;
  return forward_axis(conv.h, conv.p, conv.r, o.stride.h, o.padding.h, o.dilation.h);
}
inline ConvAxis forward_x(const Conv2dGeometry& conv) {
  const Conv2dOptions& o = conv.options;
  return forward_axis(conv.w, conv.q, conv.s, o.stride.w, o.padding.w, o.dilation.w);
}

template <class T>
void implicit_gemm_forward(const Conv2dGeometry& conv, const void* x, const void* weight, const void* bias,
                           void* y) {
  const int64_t groups = conv.options.groups, filter = conv.taps() * conv.group_c();
  const GemmSizes sizes{
      .m = conv.n * conv.p * conv.q, .n = conv.group_k(), .k = filter, .batch_inner = groups};
  const MatrixOperand<T, true> filters{.data = static_cast<const T*>(weight),
                                       .stride = filter,
                                       .batch = {0, conv.group_k() * filter},
                                       .vectors = has_channel_vectors<T>(weight, filter)};
  const GemmOutput<T> out{.data = static_cast<T*>(y),
                          .rows = {.image_stride = conv.k},
                          .batch = {0, conv.group_k()},
                          .bias = static_cast<const T*>(bias),
                          .bias_batch = {0, conv.group_k()},
                          .vectors = has_channel_vectors<T>(y, conv.group_k())};
  check_gemm_sizes("conv2d", sizes);
  const PixelOperand<T, true> pixels(x, groups, conv.group_c(), forward_y(conv), forward_x(conv));
  launch_main_loop("conv2d_forward", pixels, filters, out, sizes);
}

/// The input pixels `phase`, `phase` + stride, ... along one axis, and the taps through which they are seen:
/// those where phase + padding - tap * dilation is a multiple of the stride.
struct BackwardAxis : ConvAxis {
  int64_t first_tap = 0, tap_distance = 1;

  BackwardAxis(int64_t phase, int64_t input, int64_t output, int64_t kernel, int64_t stride, int64_t padding,
               int64_t dilation) {
    pixels = (input - phase + stride - 1) / stride;
    source = output;
    while (first_tap < kernel && (phase + padding - first_tap * dilation) % stride != 0) ++first_tap;
    tap_distance = stride / std::gcd(stride, dilation);
    taps = first_tap < kernel ? (kernel - 1 - first_tap) / tap_distance + 1 : 0;
    tap_step = -(tap_distance * dilation / stride);
    origin = taps > 0 ? (phase + padding - first_tap * dilation) / stride : 0;
  }
};

template <class T>
void implicit_gemm_backward_input(const Conv2dGeometry& conv, const void* grad, const void* weight,
                                  void* grad_x) {
  const Conv2dOptions& o = conv.options;
  const int64_t tap_stride = conv.group_c(), filter = conv.taps() * tap_stride;
  for (int64_t phase_y = 0; phase_y < std::min(o.stride.h, conv.h); ++phase_y) {
    const BackwardAxis y(phase_y, conv.h, conv.p, conv.r, o.stride.h, o.padding.h, o.dilation.h);
    for (int64_t phase_x = 0; phase_x < std::min(o.stride.w, conv.w); ++phase_x) {
      const BackwardAxis x(phase_x, conv.w, conv.q, conv.s, o.stride.w, o.padding.w, o.dilation.w);
      const GemmSizes sizes{.m = conv.n * y.pixels * x.pixels,
                            .n = conv.group_c(),
                            .k = y.taps * x.taps * conv.group_k(),
                            .batch_inner = o.groups};
      check_gemm_sizes("conv2d_backward_input", sizes);
      TapOperand<T> filters{.batch = {0, conv.group_k() * filter},
                            .vectors = has_channel_vectors<T>(weight, conv.group_c()),
                            .filter_stride = filter,
                            .tap_y_stride = y.tap_distance * conv.s * tap_stride,
                            .tap_x_stride = x.tap_distance * tap_stride};
      filters.data = static_cast<const T*>(weight);
      if (sizes.k > 0) {
        filters.data += (y.first_tap * conv.s + x.first_tap) * tap_stride;
        filters.taps_x = FastDivisor(uint32_t(x.taps));
        filters.filters = FastDivisor(uint32_t(conv.group_k()));
      }
      const GemmOutput<T> out{.data = static_cast<T*>(grad_x) + (phase_y * conv.w + phase_x) * conv.c,
                              .rows = {.width = FastDivisor(uint32_t(x.pixels)),
                                       .height = FastDivisor(uint32_t(y.pixels)),
                                       .image_stride = conv.h * conv.w * conv.c,
                                       .y_stride = o.stride.h * conv.w * conv.c,
                                       .x_stride = o.stride.w * conv.c},
                              .batch = {0, conv.group_c()},
                              .vectors = has_channel_vectors<T>(grad_x, conv.group_c())};
      const PixelOperand<T, true> pixels(grad, o.groups, conv.group_k(), y, x);
      launch_main_loop("conv2d_backward_input", pixels, filters, out, sizes);
    }
  }
}

template <class T>
void implicit_gemm_backward_weight(const Conv2dGeometry& conv, const void* grad, const void* x,
                                   void* grad_weight) {
  const int64_t groups = conv.options.groups, filter = conv.taps() * conv.group_c();
  const GemmSizes sizes{
      .m = conv.group_k(), .n = filter, .k = conv.n * conv.p * conv.q, .batch_inner = groups};
  check_gemm_sizes("conv2d_backward_weight", sizes);
  const MatrixOperand<T, false> grads{.data = static_cast<const T*>(grad),
                                      .stride = conv.k,
                                      .batch = {0, conv.group_k()},
                                      .vectors = has_channel_vectors<T>(grad, conv.group_k())};
  const GemmOutput<T> out{.data = static_cast<T*>(grad_weight),
                          .rows = {.image_stride = filter},
                          .batch = {0, conv.group_k() * filter},
                          .vectors = has_channel_vectors<T>(grad_weight, filter)};
  const PixelOperand<T, false> pixels(x, groups, conv.group_c(), forward_y(conv), forward_x(conv));
  launch_main_loop("conv2d_backward_weight", grads, pixels, out, sizes);
}

}  // namespace taper::ops
