#pragma once
// The sizes of one convolution, checked, for kernels on any device.

#include <string_view>

#include "taper/ops/conv/conv2d.h"

namespace taper::ops {

struct Conv2dGeometry {
  int64_t n = 0;         ///< images
  int64_t c = 0;         ///< input channels
  int64_t h = 0, w = 0;  ///< input size
  int64_t k = 0;         ///< output channels
  int64_t r = 0, s = 0;  ///< kernel size
  int64_t p = 0, q = 0;  ///< output size
  Conv2dOptions options;

  int64_t group_c() const { return c / options.groups; }
  int64_t group_k() const { return k / options.groups; }
  int64_t taps() const { return r * s; }
  /// One filter for each channel: as many groups as channels.
  bool is_depthwise() const { return options.groups > 1 && group_c() == 1 && group_k() == 1; }
  Shape input_shape() const { return {n, c, h, w}; }
  Shape weight_shape() const { return {k, group_c(), r, s}; }
  Shape output_shape() const { return {n, k, p, q}; }
};

/// What a forward kernel does to its sums before it stores them: y = relu(sum + bias[k] + residual).
template <class T>
struct ConvEpilogue {
  const T* bias = nullptr;      ///< [K], or null
  const T* residual = nullptr;  ///< laid out as y, or null
  bool relu = false;

  /// The epilogue of one group's channels, from channel `first` on.
  ConvEpilogue from_channel(int64_t first) const {
    return {bias ? bias + first : nullptr, residual ? residual + first : nullptr, relu};
  }
};

/// Throws Error naming `op` unless an input and a weight of these shapes can be convolved.
Conv2dGeometry conv2d_geometry(std::string_view op, const Shape& input_shape, const Shape& weight_shape,
                               const Conv2dOptions& options);

}  // namespace taper::ops
