#pragma once
// Source pixels of a convolution as matrices (im2col), for the CPU's kernels.

#include <algorithm>
#include <cstring>
#include <vector>

#include "taper/ops/conv/conv_plan.h"
#include "taper/ops/matmul/gemm_cpu.h"

namespace taper::ops {

/// Collected source pixels beyond this many elements would fall out of a core's second-level cache.
inline constexpr int64_t kCollectedElements = int64_t(1) << 18;
/// Fewer rows than this would not pay for packing the weights that multiply them.
inline constexpr int64_t kFewestPixels = 64;

/// Uninitialised memory for one task, from the caching allocator.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t elements) : memory_(empty({elements}, {.dtype = dtype_of<T>})) {}
  T* data() const { return memory_.data<T>(); }

 private:
  Tensor memory_;
};

template <class T>
void copy_channels(const T* from, int64_t count, T* to) {
  std::memcpy(to, from, size_t(count) * sizeof(T));
}

/// One group's channels of one image batch.
template <class T>
struct Channels {
  T* data = nullptr;  ///< the group's first channel of the first pixel
  int64_t count = 0;  ///< channels in the group
};

/// im2col: row i of `out` gets the source channels that the strip sees from destination pixel first + i.
template <class T>
void collect_strip(const ConvPlan& plan, const Region& region, const Strip& strip,
                   const Channels<const T>& source, int64_t first, int64_t count, T* out,
                   int64_t out_stride) {
  const PixelGrid grid = plan.source_grid(region, strip);
  if (strip.inside) {
    const int64_t length = strip.length * source.count;
    grid.for_each(first, count, [&](int64_t i, int64_t offset, int64_t, int64_t) {
      copy_channels(source.data + offset, length, out + i * out_stride);
    });
    return;
  }
  grid.for_each(first, count, [&](int64_t i, int64_t offset, int64_t y, int64_t x) {
    T* row = out + i * out_stride;
    const int64_t source_y = strip.y + y * region.source_steps[0];
    const int64_t source_x = strip.x + x * region.source_steps[1];
    // The taps of the strip that fall inside the image.
    int64_t begin = std::clamp<int64_t>(-source_x, 0, strip.length);
    int64_t end = std::clamp<int64_t>(plan.source.width - source_x, begin, strip.length);
    if (source_y < 0 || source_y >= plan.source.height) begin = end = 0;
    std::fill(row, row + begin * source.count, T(0));
    if (begin < end) {
      copy_channels(source.data + (offset + begin * plan.source.channels), (end - begin) * source.count,
                    row + begin * source.count);
    }
    std::fill(row + end * source.count, row + strip.length * source.count, T(0));
  });
}

/// Source pixels as a matrix, and the taps whose weights multiply its columns.
template <class T>
struct Columns {
  Matrix<const T> pixels;
  int64_t first_tap = 0;
};

/// The source matrices of some destination pixels of a region: in place where memory already looks like one,
/// else collected into scratch memory. With `join`, matrices of consecutive taps become one.
template <class T>
class SourceColumns {
 public:
  SourceColumns(const ConvPlan& plan, const Region& region, const Channels<const T>& source, int64_t first,
                int64_t count, bool join)
      : in_place_(in_place(plan, region)), scratch_(in_place_ ? 0 : count * region.taps() * source.count) {
    const int64_t depth = region.taps() * source.count;
    if (depth == 0) return;
    int64_t column = 0;
    for (const Strip& strip : region.strips) {
      const int64_t length = strip.length * source.count;
      if (in_place_) {
        const PixelGrid grid = plan.source_grid(region, strip);
        columns_.push_back(
            {{source.data + grid.offset_of(first), count, length, *grid.uniform_stride()}, strip.tap});
        continue;
      }
      collect_strip(plan, region, strip, source, first, count, scratch_.data() + column, depth);
      Columns<T>* last = columns_.empty() ? nullptr : &columns_.back();
      if (join && last && last->first_tap + last->pixels.cols / source.count == strip.tap) {
        last->pixels.cols += length;
      } else {
        columns_.push_back({{scratch_.data() + column, count, length, depth}, strip.tap});
      }
      column += length;
    }
  }

  const std::vector<Columns<T>>& columns() const { return columns_; }

 private:
  static bool in_place(const ConvPlan& plan, const Region& region) {
    for (const Strip& strip : region.strips) {
      if (!strip.inside || !plan.source_grid(region, strip).uniform_stride()) return false;
    }
    return true;
  }

  bool in_place_;
  Scratch<T> scratch_;
  std::vector<Columns<T>> columns_;
};

/// Piece of work: some destination pixels of a region, some channels of a group.
struct Tile {
  const Region* region;
  int64_t group;
  int64_t first_pixel, pixels;
  int64_t first_channel, channels;
};

}  // namespace taper::ops
