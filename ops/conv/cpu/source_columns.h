#pragma once
// A convolution's source matrix, packed for gemm_kernel.h straight from the image. It has one row for each
// destination pixel and one column for each (tap, channel) that the pixel sees, and is never stored.

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "taper/ops/conv/cpu/conv_plan.h"
#include "taper/ops/gemm/cpu/gemm_pack.h"
#include "taper/ops/simd.h"

namespace taper::ops {

/// A piece of work: some destination pixels of a region, some channels of a group.
struct Tile {
  const Region* region;
  int64_t group;
  int64_t first_pixel, pixels;
  int64_t first_channel, channels;
  int64_t chunk = 0;  ///< tiles of the same pixels have the same number
};

/// One group's channels of one image batch.
template <class T>
struct Channels {
  T* data = nullptr;  ///< the group's first channel of the first pixel
  int64_t count = 0;  ///< channels in the group
};

/// Returns the source columns that a region sees, as stretches of tap * channels + channel, cut into blocks
/// of at most `longest`, if possible multiples of `step`.
std::vector<DepthBlock> column_blocks(const Region& region, int64_t channels, int64_t longest,
                                      int64_t step = 16);

/// Copies `count` elements, or widens them from T to float. For most sizes here memcpy's call costs more than
/// its copy, so two copies of fixed size overlap.
template <class T, class To>
void copy_elements(const T* from, int64_t count, To* to) {
  if constexpr (!std::is_same_v<T, To>) return convert_floats(from, to, count);
  constexpr int64_t kHalf = 16;
  if (count < kHalf || count > 2 * kHalf) {
    std::memcpy(to, from, size_t(count) * sizeof(T));
    return;
  }
  std::memcpy(to, from, kHalf * sizeof(T));
  std::memcpy(to + count - kHalf, from + count - kHalf, kHalf * sizeof(T));
}

/// For each i < count writes to row(i), of T or float, the columns [columns.first, columns.first + columns.length) that
/// destination pixel first_pixel + i sees; zero for padding.
template <class T, class Row>
void copy_columns(const ConvPlan& plan, const Region& region, const Channels<const T>& source,
                  int64_t first_pixel, int64_t count, const DepthBlock& columns, Row&& row) {
  const int64_t c = source.count;
  for (const Strip& strip : region.strips) {
    // The requested part of the strip, in elements from the strip's first.
    const int64_t strip_begin = strip.tap * c;
    const int64_t begin = std::max<int64_t>(columns.first - strip_begin, 0);
    const int64_t end = std::min(columns.first + columns.length - strip_begin, strip.length * c);
    if (begin >= end) continue;
    const int64_t place = strip_begin + begin - columns.first;
    const PixelGrid grid = plan.source_grid(region, strip);
    // Neighbouring taps are neighbouring pixels. With groups pixels have gaps, so strips have one tap.
    constexpr int64_t kUsual = 2 * kVectorBytes / int64_t(sizeof(T));
    if (strip.inside && end - begin == kUsual) {  // a compile-time size: faster
      grid.for_each(first_pixel, count, [&](int64_t i, int64_t offset, int64_t, int64_t) {
        copy_elements(source.data + offset + begin, kUsual, row(i) + place);
      });
      continue;
    }
    if (strip.inside) {
      grid.for_each(first_pixel, count, [&](int64_t i, int64_t offset, int64_t, int64_t) {
        copy_elements(source.data + offset + begin, end - begin, row(i) + place);
      });
      continue;
    }
    grid.for_each(first_pixel, count, [&](int64_t i, int64_t offset, int64_t y, int64_t x) {
      const int64_t source_y = strip.y + y * region.source_steps[0];
      const int64_t source_x = strip.x + x * region.source_steps[1];
      const bool has_row = source_y >= 0 && source_y < plan.source.height;
      auto* const to = row(i) + place - begin;
      if (has_row && source_x * c + begin >= 0 && source_x * c + end <= plan.source.width * c) {
        return copy_elements(source.data + (offset + begin), end - begin, to + begin);
      }
      int64_t inside_begin = std::clamp(-source_x * c, begin, end);
      int64_t inside_end = std::clamp((plan.source.width - source_x) * c, inside_begin, end);
      if (!has_row) inside_begin = inside_end = begin;
      std::fill(to + begin, to + inside_begin, 0.f);
      if (inside_begin < inside_end) {
        copy_elements(source.data + (offset + inside_begin), inside_end - inside_begin, to + inside_begin);
      }
      std::fill(to + inside_end, to + end, 0.f);
    });
  }
}

}  // namespace taper::ops
