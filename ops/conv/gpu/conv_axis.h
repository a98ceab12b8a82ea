#pragma once
// How the pixels on one side of a convolution see those on the other side, one axis at a time.

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "taper/core/base/ceil_div.h"
#include "taper/ops/conv/conv2d_geometry.h"

namespace taper::ops {

/// One axis of a set of destination pixels and their taps. Destination pixel u sees source pixel u * step +
/// origin + tap * tap_step through a tap, if that pixel exists.
struct ConvAxis {
  int64_t pixels = 0;  ///< destination pixels
  int64_t step = 1;    ///< source pixels from one destination pixel to the next
  int64_t origin = 0;  ///< the source pixel that the first one sees through the first tap
  int64_t taps = 0;
  int64_t tap_step = 1;
  int64_t source = 0;  ///< source pixels along this axis
};

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

/// Input pixels `phase`, `phase` + stride, ... along one axis as destinations. Output pixels see them through
/// the taps for which phase + padding - tap * dilation is a multiple of the stride.
struct BackwardAxis : ConvAxis {
  int64_t phase = 0;  ///< the first input pixel
  int64_t first_tap = 0, tap_distance = 1;

  BackwardAxis(int64_t phase_, int64_t input, int64_t output, int64_t kernel, int64_t stride, int64_t padding,
               int64_t dilation)
      : phase(phase_) {
    pixels = ceil_div(input - phase, stride);
    source = output;
    while (first_tap < kernel && (phase + padding - first_tap * dilation) % stride != 0) ++first_tap;
    tap_distance = stride / std::gcd(stride, dilation);
    taps = first_tap < kernel ? (kernel - 1 - first_tap) / tap_distance + 1 : 0;
    tap_step = -(tap_distance * dilation / stride);
    origin = taps > 0 ? (phase + padding - first_tap * dilation) / stride : 0;
  }
};

/// One of the stride.h * stride.w sets of input pixels that are seen through the same taps.
struct BackwardPhase {
  BackwardAxis y, x;
};

/// Calls visit(phase) for each phase.
template <class Visit>
void for_each_phase(const Conv2dGeometry& conv, Visit&& visit) {
  const Conv2dOptions& o = conv.options;
  for (int64_t phase_y = 0; phase_y < std::min(o.stride.h, conv.h); ++phase_y) {
    const BackwardAxis y(phase_y, conv.h, conv.p, conv.r, o.stride.h, o.padding.h, o.dilation.h);
    for (int64_t phase_x = 0; phase_x < std::min(o.stride.w, conv.w); ++phase_x) {
      visit(BackwardPhase{
          y, BackwardAxis(phase_x, conv.w, conv.q, conv.s, o.stride.w, o.padding.w, o.dilation.w)});
    }
  }
}

}  // namespace taper::ops
