#pragma once
// A convolution's operands for the main loops of matrix products: implicit GEMM. Nothing is collected in
// memory first; the loops read pixels where they lie (Chetlur et al., "cuDNN: Efficient Primitives for Deep
// Learning", 2014, section 3.4). For .cu files only.

#include "taper/ops/conv/gpu/conv_axis.h"
#include "taper/ops/gemm/gpu/gemm_operands.cuh"

namespace taper::ops {

/// im2col that is never stored: outer = destination pixel (image, y, x), inner = (tap y, tap x, channel). The
/// element is the channel of the source pixel that the destination pixel sees through the tap.
template <class T, bool kInnerIsK_>
struct PixelOperand {
  using Element = T;
  static constexpr bool kInnerIsK = kInnerIsK_, kKeepRows = kInnerIsK_;
  struct Row {
    int pixel;  ///< y * width + x, plus the pixels of earlier images
    int y, x;
  };
  struct Column {
    int pixel;
    int y, x;
    int channel;
  };

  const T* data = nullptr;
  BatchStrides batch;
  bool vectors = false;
  FastDivisor pixels_y, pixels_x, taps_x, channels;
  int step_y, step_x, origin_y, origin_x, tap_step_y, tap_step_x;
  int height, width;
  int64_t pixel_stride;  ///< elements between neighbouring source pixels: the channels of all groups

  /// source: [images, y.source, x.source, groups * channels].
  PixelOperand(const void* source, int64_t groups, int64_t group_channels, const ConvAxis& y,
               const ConvAxis& x)
      : data(static_cast<const T*>(source)),
        batch{0, group_channels},
        vectors(reinterpret_cast<uintptr_t>(source) % 16 == 0 && group_channels % kVectorOf<T> == 0),
        pixels_y(divisor(y.pixels)),
        pixels_x(divisor(x.pixels)),
        taps_x(divisor(x.taps)),
        channels(divisor(group_channels)),
        step_y(int(y.step)),
        step_x(int(x.step)),
        origin_y(int(y.origin)),
        origin_x(int(x.origin)),
        tap_step_y(int(y.tap_step)),
        tap_step_x(int(x.tap_step)),
        height(int(y.source)),
        width(int(x.source)),
        pixel_stride(groups * group_channels) {}

  __device__ __forceinline__ void select(int64_t i, int64_t j) { data += batch.offset(i, j); }
  __device__ __forceinline__ Row row(int outer) const {
    const uint32_t line = pixels_x.quotient(uint32_t(outer)), image = pixels_y.quotient(line);
    const int y = int(line - image * pixels_y.divisor) * step_y + origin_y;
    const int x = int(uint32_t(outer) - line * pixels_x.divisor) * step_x + origin_x;
    return {(int(image) * height + y) * width + x, y, x};
  }
  __device__ __forceinline__ Column column(int inner) const {
    const uint32_t tap = channels.quotient(uint32_t(inner)), tap_y = taps_x.quotient(tap);
    const int y = int(tap_y) * tap_step_y, x = int(tap - tap_y * taps_x.divisor) * tap_step_x;
    return {y * width + x, y, x, int(uint32_t(inner) - tap * channels.divisor)};
  }
  __device__ __forceinline__ const T* at(const Row& row, const Column& column) const {
    const bool inside =
        unsigned(row.y + column.y) < unsigned(height) && unsigned(row.x + column.x) < unsigned(width);
    return inside ? data + int64_t(row.pixel + column.pixel) * pixel_stride + column.channel : nullptr;
  }

 private:
  /// Axes without pixels or taps are never indexed.
  static FastDivisor divisor(int64_t n) { return FastDivisor(uint32_t(n > 0 ? n : 1)); }
};

/// A filter's taps on a grid, as the gradient with respect to the input reads them: outer = (tap y, tap x,
/// output channel), inner = input channel of weight[output channel, r, s, input channel].
template <class T>
struct TapOperand {
  using Element = T;
  static constexpr bool kInnerIsK = false, kKeepRows = false;
  using Row = int64_t;
  using Column = int;

  const T* data = nullptr;  ///< at the first tap
  BatchStrides batch;
  bool vectors = false;
  FastDivisor taps_x{1}, filters{1};
  int64_t filter_stride = 0, tap_y_stride = 0, tap_x_stride = 0;

  __device__ __forceinline__ void select(int64_t i, int64_t j) { data += batch.offset(i, j); }
  __device__ __forceinline__ Row row(int outer) const {
    const uint32_t tap = filters.quotient(uint32_t(outer)), tap_y = taps_x.quotient(tap);
    return (uint32_t(outer) - tap * filters.divisor) * filter_stride + tap_y * tap_y_stride +
           (tap - tap_y * taps_x.divisor) * tap_x_stride;
  }
  __device__ __forceinline__ Column column(int inner) const { return inner; }
  __device__ __forceinline__ const T* at(Row row, Column column) const { return data + row + column; }
};

/// Whether each group's part of a row of channels can be moved 16 bytes at a time.
template <class T>
bool has_channel_vectors(const void* data, int64_t group_channels) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && group_channels % kVectorOf<T> == 0;
}

/// Where the input pixels of a phase lie in grad_x.
template <class T>
GemmOutput<T> phase_output(const Conv2dGeometry& conv, const BackwardPhase& phase, void* grad_x) {
  const IntPair stride = conv.options.stride;
  return {.data = static_cast<T*>(grad_x) + (phase.y.phase * conv.w + phase.x.phase) * conv.c,
          .rows = {.width = FastDivisor(uint32_t(phase.x.pixels)),
                   .height = FastDivisor(uint32_t(phase.y.pixels)),
                   .image_stride = conv.h * conv.w * conv.c,
                   .y_stride = stride.h * conv.w * conv.c,
                   .x_stride = stride.w * conv.c},
          .batch = {0, conv.group_c()},
          .vectors = has_channel_vectors<T>(grad_x, conv.group_c())};
}

}  // namespace taper::ops
