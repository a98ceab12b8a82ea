#pragma once
// Where the windows of a pooling lie along one axis of the image, for host and device alike.

#include <cstdint>

#include "taper/core/base/ceil_div.h"
#include "taper/core/philox.h"  // TAPER_HOST_DEVICE

namespace taper::ops {

/// Input positions [begin, end) that one output position sees along an axis, and what it divides by.
struct PoolWindow {
  int64_t begin = 0, end = 0;
  int64_t divisor = 1;
};

/// One axis of max pooling. Output i sees inputs begin(i), begin(i) + dilation, ... below end(i).
struct MaxPoolAxis {
  int32_t input = 0, output = 0;
  int32_t kernel = 1, stride = 1, padding = 0, dilation = 1;

  TAPER_HOST_DEVICE int32_t begin(int32_t i) const {
    const int32_t start = i * stride - padding;
    return start >= 0 ? start : start + round_up(-start, dilation);
  }
  TAPER_HOST_DEVICE int32_t end(int32_t i) const {
    const int32_t last = i * stride - padding + (kernel - 1) * dilation;
    return last < input ? last + 1 : input;
  }
  /// The windows whose reach covers input position h are first_window(h) to last_window(h).
  TAPER_HOST_DEVICE int32_t first_window(int32_t h) const {
    const int32_t beyond = h + padding - (kernel - 1) * dilation;
    return beyond <= 0 ? 0 : ceil_div(beyond, stride);
  }
  TAPER_HOST_DEVICE int32_t last_window(int32_t h) const {
    const int32_t last = (h + padding) / stride;
    return last < output ? last : output - 1;
  }
};

/// One axis of average pooling: windows of one size, or adaptive windows that cover the input evenly.
struct AveragePoolAxis {
  int32_t input = 0, output = 0;
  bool adaptive = false;
  int32_t kernel = 1, stride = 1, padding = 0;  ///< unless adaptive
  bool count_include_pad = true;                ///< unless adaptive

  TAPER_HOST_DEVICE PoolWindow window(int32_t i) const {
    PoolWindow result;
    if (adaptive) {
      result.begin = int64_t(i) * input / output;
      result.end = ceil_div(int64_t(i + 1) * input, output);
      result.divisor = result.end - result.begin;
      return result;
    }
    const int32_t begin = i * stride - padding;
    const int32_t end = begin + kernel < input + padding ? begin + kernel : input + padding;
    result.begin = begin < 0 ? 0 : begin;
    result.end = end < input ? end : input;
    result.divisor = count_include_pad ? end - begin : result.end - result.begin;
    return result;
  }
  /// The windows that see input position h are first_window(h) to last_window(h).
  TAPER_HOST_DEVICE int32_t first_window(int32_t h) const {
    if (adaptive) return int32_t(int64_t(h) * output / input);
    const int32_t beyond = h + padding - (kernel - 1);
    return beyond <= 0 ? 0 : ceil_div(beyond, stride);
  }
  TAPER_HOST_DEVICE int32_t last_window(int32_t h) const {
    if (adaptive) return int32_t(ceil_div(int64_t(h + 1) * output, input)) - 1;
    const int32_t last = (h + padding) / stride;
    return last < output ? last : output - 1;
  }
};

/// Both axes of the images.
struct MaxPoolAxes {
  MaxPoolAxis rows, columns;
};
struct AveragePoolAxes {
  AveragePoolAxis rows, columns;
};

}  // namespace taper::ops
