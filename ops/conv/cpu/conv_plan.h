#pragma once
// How the CPU turns a convolution into matrix products.
//
// In channels_last memory a pixel is a row of channels. To convolve a set of destination pixels: collect the
// source pixels that their kernel taps see into a matrix with one row per destination pixel (im2col), and
// multiply it by the weights. The plan says which destination pixels go together.
//
// Destination pixels that see the same taps form a region: the interior of the image sees every tap, an edge
// or a corner fewer. Regions leave out all multiplications by padding: a 3x3 convolution of a 2x2 image sees
// 4 taps of 9 from each pixel, and of a 1x1 image 1 of 9. (ResNet-50 at 32x32 pixels ends in such images.)
// Where regions would cost more than they save, one region has all taps, and zeros for the padding.
//
// The plan also serves the gradient with respect to the input, with output pixels as the source. For stride 2
// the input pixels fall into four classes that see different taps; each class is a region.

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "taper/ops/conv/conv2d_geometry.h"

namespace taper::ops {

/// Evenly spaced pixels of a channels_last image batch: an n x y x x grid, numbered in that order.
struct PixelGrid {
  int64_t offset = 0;                ///< of the first pixel's first channel, in elements
  std::array<int64_t, 3> counts{};   ///< images, rows, columns
  std::array<int64_t, 3> strides{};  ///< between images, rows, columns, in elements

  int64_t size() const { return counts[0] * counts[1] * counts[2]; }
  int64_t offset_of(int64_t pixel) const;
  /// The distance between neighbouring pixels, if it is constant.
  std::optional<int64_t> uniform_stride() const;
  /// Calls visit(i, offset, y, x) for pixels first + i, 0 <= i < count; y and x are counted in the grid.
  template <class Visit>
  void for_each(int64_t first, int64_t count, Visit&& visit) const;
};

/// Consecutive kernel taps that see consecutive source pixels: one contiguous stretch of source memory.
struct Strip {
  int64_t tap = 0;       ///< the first tap, r * S + s
  int64_t length = 1;    ///< taps
  int64_t y = 0, x = 0;  ///< the source pixel of the first tap, for the region's first pixel
  bool inside = true;    ///< every pixel of the region finds all taps inside the source image
};

struct Region {
  PixelGrid destination;
  std::array<int64_t, 2> source_steps{};  ///< source pixels from one destination pixel to the next: y, x
  std::vector<Strip> strips;              ///< in the order of their taps; empty: the result is zero here

  int64_t taps() const;
};

/// All images and channels on one side of a convolution: x or y.
struct ImageBatch {
  int64_t n = 0, height = 0, width = 0, channels = 0;
};

struct ConvPlan {
  ImageBatch source;
  ImageBatch destination;
  std::vector<Region> regions;  ///< together they cover each destination pixel once

  /// The source pixels that `strip` sees, one for each destination pixel of `region`.
  PixelGrid source_grid(const Region& region, const Strip& strip) const;
};

/// What a region's product costs for each tap besides its pixels, in pixels: about the packing of the weights.
inline constexpr int64_t kTapCost = 32;
/// With this cost no region leaves out a tap because of padding.
inline constexpr int64_t kKeepTaps = int64_t(1) << 40;

/// Source: the input; destination: the output.
ConvPlan plan_forward(const Conv2dGeometry& conv, int64_t tap_cost = kTapCost);
/// Source: the output's gradient; destination: the input's.
ConvPlan plan_backward_input(const Conv2dGeometry& conv, int64_t tap_cost = kTapCost);

template <class Visit>
void PixelGrid::for_each(int64_t first, int64_t count, Visit&& visit) const {
  int64_t x = first % counts[2], y = first / counts[2] % counts[1], n = first / counts[2] / counts[1];
  for (int64_t i = 0; i < count; ++i) {
    visit(i, offset + n * strides[0] + y * strides[1] + x * strides[2], y, x);
    if (++x == counts[2]) {
      x = 0;
      if (++y == counts[1]) {
        y = 0;
        ++n;
      }
    }
  }
}

}  // namespace taper::ops
