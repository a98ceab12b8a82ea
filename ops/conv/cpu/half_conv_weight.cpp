// The gradient of a convolution with respect to the weight, from 16-bit numbers: a product of two tall
// matrices, summed over pixels: (gradient pixels)^T * (source columns).

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"
#include "taper/ops/conv/cpu/conv_tiles.h"
#include "taper/ops/conv/cpu/half_conv.h"

namespace taper::ops {
namespace {

/// Each tile of pixels reads and writes all sums.
constexpr int64_t kWeightTapCost = 256;

/// Slices of the result's rows and columns go to different threads. Where slices are few, threads also take
/// partial sums over some of the pixels, added in order. The cut depends on the sizes alone. A slice's sums
/// are tiles of kRows x kCols, the tiles of one column panel together.
template <class K>
struct HalfWeightWork {
  static constexpr int64_t kTile = K::kRows * K::kCols;

  HalfWeightWork(const Conv2dGeometry& geometry, const ConvPlan& plan);

  int64_t slices() const { return geometry.options.groups * slices_down * slices_across; }
  int64_t parts() const { return int64_t(part_begin.size()) - 1; }
  /// Numbers of the gradient in a tile, transposed for the slices of the same rows.
  int64_t packed_size() const { return slice_rows * K::kRowStride; }
  /// Sums of one slice.
  int64_t slice_size() const { return slice_rows * slice_cols; }

  Conv2dGeometry geometry;
  int64_t filter;
  std::vector<Tile> tiles;                    ///< pixels, kDepth at most
  std::vector<size_t> part_begin;             ///< the first tile of each partial sum, and the end
  int64_t slice_rows = 0, slices_down = 0;    ///< rows: a multiple of kRows
  int64_t slice_cols = 0, slices_across = 0;  ///< columns: a multiple of kCols
};

template <class K>
HalfWeightWork<K>::HalfWeightWork(const Conv2dGeometry& conv, const ConvPlan& plan)
    : geometry(conv), filter(conv.taps() * conv.group_c()) {
  constexpr int64_t kMostRows = 256, kSliceFloats = int64_t(1) << 16, kTasks = 16;
  int64_t total = 0;
  for (const Region& region : plan.regions) {
    const int64_t pixels = region.destination.size();
    for (int64_t pixel = 0; pixel < pixels; pixel += K::kDepth) {
      tiles.push_back({&region, 0, pixel, std::min(K::kDepth, pixels - pixel), 0, 0});
    }
    total += pixels;
  }
  const auto cut = [](int64_t size, int64_t most, int64_t step, int64_t& slice, int64_t& count) {
    slice = round_up(ceil_div(size, ceil_div(size, most)), step);
    count = ceil_div(size, slice);
  };
  cut(conv.group_k(), kMostRows, K::kRows, slice_rows, slices_down);
  cut(filter, std::max(kSliceFloats / slice_rows, K::kCols), K::kCols, slice_cols, slices_across);
  const int64_t parts =
      std::clamp<int64_t>(ceil_div(kTasks, slices()), 1, std::max<int64_t>(total / K::kDepth, 1));
  int64_t before = 0;
  part_begin.push_back(0);
  for (size_t i = 0; i < tiles.size(); ++i) {
    if (before * parts >= int64_t(part_begin.size()) * total) part_begin.push_back(i);
    before += tiles[i].pixels;
  }
  part_begin.push_back(tiles.size());
}

/// One slice of one group's result.
struct Slice {
  int64_t group, row, rows, col, cols;
};

template <class K>
Slice slice_of(const HalfWeightWork<K>& work, int64_t index) {
  const int64_t across = index % work.slices_across, down = index / work.slices_across % work.slices_down;
  const int64_t row = down * work.slice_rows, col = across * work.slice_cols;
  return {index / work.slices_across / work.slices_down, row,
          std::min(work.slice_rows, work.geometry.group_k() - row), col,
          std::min(work.slice_cols, work.filter - col)};
}

/// Returns how many of the columns the region's taps see.
int64_t columns_seen(const Region& region, int64_t channels, const DepthBlock& columns) {
  int64_t seen = 0;
  for (const Strip& strip : region.strips) {
    const int64_t begin = std::max(strip.tap * channels, columns.first);
    const int64_t end = std::min((strip.tap + strip.length) * channels, columns.first + columns.length);
    seen += std::max<int64_t>(end - begin, 0);
  }
  return seen;
}

/// Transposes one tile's gradient for one slice.
template <class K, class T>
void pack_gradient(const Tile& tile, const Slice& slice, const T* group_grad, typename K::Element* to) {
  const std::vector<const T*> pixels = destination_rows(tile, group_grad);
  pack_transposed<K>(pixels.data(), tile.pixels, slice.row, slice.rows, to);
}

/// Adds one tile's share to a slice's sums.
template <class K, class T>
class WeightGradientTile {
 public:
  WeightGradientTile(const K& kernel, const ConvPlan& plan, int64_t taps)
      : kernel_(kernel), plan_(plan), plan_taps_(taps), panel_(K::kDepth * K::kCols) {}

  /// gradient: packed. is_first: the sums hold nothing yet.
  void add(const Tile& tile, const Slice& slice, const typename K::Element* gradient,
           const Channels<const T>& source, bool is_first, float* sums) {
    const int64_t depth = round_up(tile.pixels, K::kDepthStep);
    tap_ = copied_ = -1;
    for (int64_t col = slice.col; col < slice.col + slice.cols; col += K::kCols) {
      const DepthBlock columns = {col, std::min(K::kCols, slice.col + slice.cols - col)};
      const bool seen = pack_source_panel(tile, columns, depth, source);
      for (int64_t i = 0; i < slice.rows; i += K::kRows, sums += K::kRows * K::kCols) {
        if (seen) {
          kernel_.multiply(gradient + i * K::kRowStride, K::kRowStride, std::min(K::kRows, slice.rows - i),
                           panel_.data(), depth, !is_first, sums);
        } else if (is_first) {
          std::fill_n(sums, K::kRows * K::kCols, 0.f);
        }
      }
    }
  }

 private:
  static constexpr int64_t kCopied = 8 * K::kCols;

  /// Returns false if no pixel sees the columns.
  bool pack_source_panel(const Tile& tile, const DepthBlock& columns, int64_t depth,
                         const Channels<const T>& source) {
    if (source.count % K::kCols == 0) {  // channels of one tap: packed from where they lie
      const int64_t tap = columns.first / source.count;
      if (tap != tap_) find_pixels(tile, tap, source);
      if (!tap_seen_) return false;
      pack_panel<K>(pixels_, tile.pixels, depth, columns.first % source.count, K::kCols, panel_.data());
      return true;
    }
    const int64_t group = columns.first / kCopied * kCopied;
    if (group != copied_) copy_group(tile, group, source);
    if (!copied_seen_) return false;
    pack_panel<K>(copied_rows_, tile.pixels, depth, columns.first - group, columns.length, panel_.data());
    return true;
  }

  /// Copies the columns [group, group + kCopied) that the tile's pixels see. Several panels are packed from
  /// them, because pieces of a few channels are dear to copy.
  void copy_group(const Tile& tile, int64_t group, const Channels<const T>& source) {
    const int64_t all = plan_taps_ * source.count;
    const DepthBlock columns = {group, std::min(kCopied, all - group)};
    const int64_t seen = columns_seen(*tile.region, source.count, columns);
    copied_ = group;
    copied_seen_ = seen > 0;
    if (!copied_seen_) return;
    if (columns_.empty()) columns_.resize(K::kDepth * kCopied);
    for (int64_t i = 0; i < K::kDepth; ++i) copied_rows_[i] = columns_.data() + i * kCopied;
    if (seen < columns.length) std::fill_n(columns_.data(), tile.pixels * kCopied, T());
    copy_columns(plan_, *tile.region, source, tile.first_pixel, tile.pixels, columns,
                 [&](int64_t i) { return columns_.data() + i * kCopied; });
  }

  /// Finds the source pixels that the tile's pixels see through a tap.
  void find_pixels(const Tile& tile, int64_t tap, const Channels<const T>& source) {
    const Region& region = *tile.region;
    tap_ = tap;
    tap_seen_ = false;
    zeros_.resize(size_t(source.count));
    for (Strip strip : region.strips) {
      if (tap < strip.tap || tap >= strip.tap + strip.length) continue;
      strip.x += tap - strip.tap;
      tap_seen_ = true;
      plan_.source_grid(region, strip)
          .for_each(tile.first_pixel, tile.pixels, [&](int64_t i, int64_t offset, int64_t y, int64_t x) {
            const int64_t source_y = strip.y + y * region.source_steps[0];
            const int64_t source_x = strip.x + x * region.source_steps[1];
            const bool inside = source_y >= 0 && source_y < plan_.source.height && source_x >= 0 &&
                                source_x < plan_.source.width;
            pixels_[i] = inside ? source.data + offset : zeros_.data();
          });
    }
  }

  const K& kernel_;
  const ConvPlan& plan_;
  int64_t plan_taps_;
  Scratch<typename K::Element> panel_;
  int64_t copied_ = -1;  ///< the first copied column
  bool copied_seen_ = false;
  std::vector<T> columns_;
  const T* copied_rows_[K::kDepth];
  int64_t tap_ = -1;
  bool tap_seen_ = false;
  const T* pixels_[K::kDepth];  ///< that the tile's pixels see through tap_
  std::vector<T> zeros_;        ///< a pixel of the padding
};

/// Rounds a slice's sums and stores them.
template <class K, class Out>
void store_slice(const HalfWeightWork<K>& work, const Slice& slice, float* sums, Out* grad_weight) {
  std::vector<Out*> rows(static_cast<size_t>(slice.rows));
  for (int64_t i = 0; i < slice.rows; ++i) {
    rows[size_t(i)] = grad_weight + (slice.group * work.geometry.group_k() + slice.row + i) * work.filter;
  }
  for (int64_t col = slice.col; col < slice.col + slice.cols; col += K::kCols) {
    for (int64_t i = 0; i < slice.rows; i += K::kRows, sums += work.kTile) {
      finish_tile<K>(sums, std::min(K::kRows, slice.rows - i),
                     std::min(K::kCols, slice.col + slice.cols - col),
                     HalfOutput<Out>{.rows = rows.data() + i, .column = col});
    }
  }
}

}  // namespace

template <class K, class T, class Out>
void half_conv_backward_weight(const K& kernel, const Conv2dGeometry& conv, const T* grad, const T* x,
                               Out* grad_weight) {
  if (numel(conv.weight_shape()) == 0) return;
  const ConvPlan plan = plan_forward(conv, kWeightTapCost);
  const HalfWeightWork<K> work(conv, plan);
  const int64_t parts = work.parts(), size = work.slice_size();
  // Slices of the same rows share a packed gradient.
  const auto tiles = int64_t(work.tiles.size()), packed_size = work.packed_size();
  const int64_t down = conv.options.groups * work.slices_down;
  const bool shares = work.slices_across > 1;
  const Scratch<typename K::Element> gradients(shares ? down * tiles * packed_size : 0);
  if (shares) {
    parallel_chunks(down * tiles, [&](int64_t chunk) {
      const Slice slice = slice_of(work, chunk / tiles * work.slices_across);
      pack_gradient<K>(work.tiles[size_t(chunk % tiles)], slice, grad + slice.group * conv.group_k(),
                       gradients.data() + chunk * packed_size);
    });
  }
  const Scratch<float> partial_sums(parts > 1 ? parts * work.slices() * size : 0);
  parallel_chunks(parts * work.slices(), [&](int64_t task) {
    const int64_t part = task % parts, index = task / parts;
    const Slice slice = slice_of(work, index);
    const Scratch<float> own(parts > 1 ? 0 : size);
    float* const sums = parts > 1 ? partial_sums.data() + (index * parts + part) * size : own.data();
    const size_t begin = work.part_begin[size_t(part)], end = work.part_begin[size_t(part) + 1];
    if (begin == end) std::fill_n(sums, size, 0.f);
    const Channels<const T> source = {x + slice.group * conv.group_c(), conv.group_c()};
    WeightGradientTile<K, T> adder(kernel, plan, conv.taps());
    const Scratch<typename K::Element> own_gradient(shares ? 0 : packed_size);
    {
      const KernelScope scope(kernel);
      for (size_t i = begin; i < end; ++i) {
        typename K::Element* gradient = own_gradient.data();
        if (shares) {
          gradient = gradients.data() + (index / work.slices_across * tiles + int64_t(i)) * packed_size;
        } else {
          pack_gradient<K>(work.tiles[i], slice, grad + slice.group * conv.group_k(), gradient);
        }
        adder.add(work.tiles[i], slice, gradient, source, i == begin, sums);
      }
    }
    if (parts == 1) store_slice(work, slice, sums, grad_weight);
  });
  if (parts == 1) return;
  parallel_chunks(work.slices(), [&](int64_t index) {
    float* const sums = partial_sums.data() + index * parts * size;
    for (int64_t part = 1; part < parts; ++part) {
      const float* const from = sums + part * size;
      for (int64_t i = 0; i < size; ++i) sums[i] += from[i];
    }
    store_slice(work, slice_of(work, index), sums, grad_weight);
  });
}

// NOLINTBEGIN(bugprone-macro-parentheses): types
#define TAPER_HALF_CONV_WEIGHT(K, T, Out) \
  template void half_conv_backward_weight(const K&, const Conv2dGeometry&, const T*, const T*, Out*)
// NOLINTEND(bugprone-macro-parentheses)
#if TAPER_HAVE_AVX512BF16
TAPER_HALF_CONV_WEIGHT(PairKernel, BFloat16, BFloat16);
TAPER_HALF_CONV_WEIGHT(PairKernel, BFloat16, float);
#endif
TAPER_HALF_CONV_WEIGHT(WideningKernel, BFloat16, BFloat16);
TAPER_HALF_CONV_WEIGHT(WideningKernel, BFloat16, float);
TAPER_HALF_CONV_WEIGHT(WideningKernel, Half, Half);
TAPER_HALF_CONV_WEIGHT(WideningKernel, Half, float);
#undef TAPER_HALF_CONV_WEIGHT

}  // namespace taper::ops
