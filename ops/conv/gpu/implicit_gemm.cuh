#pragma once  // spine 37 (docs/0-the-spine.md)
// implicit_gemm.h's definitions, instantiated in several files by dtype: the main loops take long to compile.

#include "taper/ops/conv/gpu/conv_operands.cuh"
#include "taper/ops/conv/gpu/implicit_gemm.h"
#include "taper/ops/gemm/gpu/gemm_launch.cuh"

namespace taper::ops {

template <class T, class Output>
PartialMoments launch_forward(const Conv2dGeometry& conv, const void* x, const void* weight,
                              const Output& out, GemmTiles tiles) {
  const int64_t groups = conv.options.groups, filter = conv.taps() * conv.group_c();
  const GemmSizes sizes{
      .m = conv.n * conv.p * conv.q, .n = conv.group_k(), .k = filter, .batch_inner = groups};
  const MatrixOperand<T, true> filters{.data = static_cast<const T*>(weight),
                                       .stride = filter,
                                       .batch = {0, conv.group_k() * filter},
                                       .vectors = has_channel_vectors<T>(weight, filter)};
  check_gemm_sizes("conv2d", sizes);
  const PixelOperand<T, true> pixels(x, groups, conv.group_c(), forward_y(conv), forward_x(conv));
  return launch_main_loop(Output::kMoments ? "conv2d_forward_moments" : "conv2d_forward", pixels, filters,
                          out, sizes, tiles);
}

template <class T>
GemmOutput<T> forward_output(const Conv2dGeometry& conv, const ConvEpilogue<T>& epilogue, void* y) {
  return {.data = static_cast<T*>(y),
          .rows = {.image_stride = conv.k},
          .batch = {0, conv.group_k()},
          .bias = epilogue.bias,
          .bias_batch = {0, conv.group_k()},
          .residual = epilogue.residual,
          .relu = epilogue.relu,
          .vectors = has_channel_vectors<T>(y, conv.group_k()) &&
                     has_channel_vectors<T>(epilogue.residual, conv.group_k())};
}

template <class T>
void implicit_gemm_forward(const Conv2dGeometry& conv, const void* x, const void* weight,
                           const ConvEpilogue<T>& epilogue, void* y, GemmTiles tiles) {
  launch_forward<T>(conv, x, weight, forward_output(conv, epilogue, y), tiles);
}

template <class T>
PartialMoments implicit_gemm_forward_moments(const Conv2dGeometry& conv, const void* x, const void* weight,
                                             void* y, GemmTiles tiles) {
  MomentsOutput<T> out;
  static_cast<GemmOutput<T>&>(out) = forward_output<T>(conv, {}, y);
  out.columns = conv.k;
  return launch_forward<T>(conv, x, weight, out, tiles);
}

template <class T>
void implicit_gemm_backward_input(const Conv2dGeometry& conv, const void* grad, const void* weight,
                                  void* grad_x, GemmTiles tiles) {
  const int64_t tap_stride = conv.group_c(), filter = conv.taps() * tap_stride;
  for_each_phase(conv, [&](const BackwardPhase& phase) {
    const auto& [y, x] = phase;
    const GemmSizes sizes{.m = conv.n * y.pixels * x.pixels,
                          .n = conv.group_c(),
                          .k = y.taps * x.taps * conv.group_k(),
                          .batch_inner = conv.options.groups};
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
    const PixelOperand<T, true> pixels(grad, conv.options.groups, conv.group_k(), y, x);
    launch_main_loop("conv2d_backward_input", pixels, filters, phase_output<T>(conv, phase, grad_x), sizes,
                     tiles);
  });
}

template <class T>
void implicit_gemm_backward_weight(const Conv2dGeometry& conv, const void* grad, const void* x,
                                   void* grad_weight, bool f32_result, GemmTiles tiles) {
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
                          .vectors = has_channel_vectors<T>(grad_weight, filter),
                          .partial = f32_result ? static_cast<SumOf<T>*>(grad_weight) : nullptr};
  const PixelOperand<T, false> pixels(x, groups, conv.group_c(), forward_y(conv), forward_x(conv));
  launch_main_loop("conv2d_backward_weight", grads, pixels, out, sizes, tiles);
}

}  // namespace taper::ops
