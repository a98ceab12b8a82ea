#pragma once
// A convolution's source as matrix tiles load it without im2col. The pixels around a piece of the result are
// copied once, with zeros for the padding, one padded image after the other:
//
//   0 0 0 0 0 0      A tap of a destination pixel is a fixed number of positions away from the pixel, so a
//   0 a b c d 0      product takes positions that follow each other as rows. The positions at the end of a
//   0 e f g h 0      line are no destination pixels: their results are dropped.
//   0 0 0 0 0 0
//
// A 1x1 convolution reads the image itself.

#include "taper/ops/conv/cpu/source_columns.h"
#include "taper/ops/copy/scratch.h"

namespace taper::ops {

/// How a region's padded source images lie. Destination pixel (y, x) has the position of its upper left tap.
class PaddedSource {
 public:
  PaddedSource(const ConvPlan& plan, const Region& region);

  /// Whether neighbours in the region see neighbours in the source, and most positions are pixels.
  bool fits() const;
  /// Whether the padded images are the source itself.
  bool is_source() const;
  /// The position of a pixel of the region.
  int64_t position(int64_t pixel) const;
  int64_t positions() const { return region_.destination.counts[0] * height_ * width_; }
  /// Positions from the pixel to what it sees through the strip's first tap.
  int64_t distance(const Strip& strip) const { return (strip.y - y_) * width_ + strip.x - x_; }
  /// The furthest of the distances.
  int64_t reach() const { return (height_ - region_.destination.counts[1]) * width_ + taps_wide_ - 1; }

  /// Copies the positions from the line of `first` to that of `last` into contiguous pixels of source.count
  /// channels. Returns the position of the first copied pixel.
  template <class T>
  int64_t copy(const Channels<const T>& source, int64_t first, int64_t last, T* to) const;
  /// Positions that copy() writes.
  int64_t copied(int64_t first, int64_t last) const { return (last / width_ - first / width_ + 1) * width_; }

 private:
  const ConvPlan& plan_;
  const Region& region_;
  int64_t y_ = 0, x_ = 0;  ///< the source pixel at position 0 of the first image
  int64_t height_ = 0, width_ = 0, taps_wide_ = 0;
};

template <class T>
int64_t PaddedSource::copy(const Channels<const T>& source, int64_t first, int64_t last, T* to) const {
  const int64_t c = source.count, pixel_stride = plan_.source.channels;
  const int64_t begin = std::clamp<int64_t>(-x_, 0, width_);
  const int64_t end = std::clamp(plan_.source.width - x_, begin, width_);
  for (int64_t line = first / width_; line <= last / width_; ++line, to += width_ * c) {
    const int64_t image = line / height_, y = y_ + line % height_;
    if (image >= plan_.source.n || y < 0 || y >= plan_.source.height) {
      std::fill_n(to, width_ * c, T());
      continue;
    }
    const T* const from =
        source.data + ((image * plan_.source.height + y) * plan_.source.width + x_) * pixel_stride;
    std::fill(to, to + begin * c, T());
    if (c == pixel_stride) {
      std::copy(from + begin * c, from + end * c, to + begin * c);
    } else {
      for (int64_t x = begin; x < end; ++x) std::copy_n(from + x * pixel_stride, c, to + x * c);
    }
    std::fill(to + end * c, to + width_ * c, T());
  }
  return first / width_ * width_;
}

}  // namespace taper::ops
