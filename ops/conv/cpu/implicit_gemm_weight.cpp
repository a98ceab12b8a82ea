// The gradient of a convolution with respect to the weight on the CPU, as an implicit matrix product.

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"
#include "taper/ops/conv/cpu/implicit_gemm.h"
#include "taper/ops/conv/cpu/source_columns.h"

namespace taper::ops {
namespace {

/// The weight's gradient is a product of two tall matrices, summed over pixels: (gradient pixels)^T * (source
/// columns). Slices of its rows and columns go to different threads. Where slices are few, threads also take
/// partial sums over some of the pixels, added in order. The cut depends on the sizes alone.
struct WeightWork {
  std::vector<Tile> tiles;         ///< one group's pixels, a panel's depth at most
  std::vector<size_t> part_begin;  ///< the first tile of each partial sum, and the end
  int64_t slice_rows = 0, slices_down = 0;
  int64_t slice_cols = 0, slices_across = 0;

  int64_t parts() const { return int64_t(part_begin.size()) - 1; }
};

template <class T>
WeightWork cut_weight_work(const Conv2dGeometry& conv, const ConvPlan& plan) {
  using Panel = GemmTile<T>;
  constexpr int64_t kMostRows = 256, kSliceBytes = int64_t(1) << 18, kTasks = 16;
  WeightWork work;
  int64_t total = 0;
  for (const Region& region : plan.regions) {
    const int64_t pixels = region.destination.size();
    for (int64_t pixel = 0; pixel < pixels; pixel += Panel::kDepth) {
      work.tiles.push_back({&region, 0, pixel, std::min(Panel::kDepth, pixels - pixel), 0, 0});
    }
    total += pixels;
  }
  const int64_t filter = conv.taps() * conv.group_c();
  work.slices_down = ceil_div(conv.group_k(), kMostRows);
  work.slice_rows = ceil_div(conv.group_k(), work.slices_down);
  const int64_t most_cols = kSliceBytes / int64_t(sizeof(T)) / work.slice_rows;
  work.slice_cols = round_up(ceil_div(filter, ceil_div(filter, most_cols)), Panel::kCols);
  work.slices_across = ceil_div(filter, work.slice_cols);

  const int64_t tasks = work.slices_down * work.slices_across * conv.options.groups;
  const int64_t parts =
      std::clamp<int64_t>(ceil_div(kTasks, tasks), 1, std::max<int64_t>(total / Panel::kDepth, 1));
  int64_t before = 0;
  if (total == 0) work.part_begin.push_back(0);
  for (size_t i = 0; i < work.tiles.size(); ++i) {
    if (before * parts >= int64_t(work.part_begin.size()) * total) work.part_begin.push_back(i);
    before += work.tiles[i].pixels;
  }
  work.part_begin.push_back(work.tiles.size());
  return work;
}

/// Packs the gradient of a tile's pixels, transposed, into panels of its channels.
template <class T>
void pack_gradient(const Tile& tile, const T* group_grad, T* panels) {
  const PanelCut cut = PanelCut::of<T>(tile.channels);
  tile.region->destination.for_each(tile.first_pixel, tile.pixels,
                                    [&](int64_t i, int64_t offset, int64_t, int64_t) {
                                      const T* from = group_grad + offset + tile.first_channel;
                                      T* to = panels + i * GemmTile<T>::kRows;
                                      for (int64_t panel = 0; panel < cut.panels; ++panel) {
                                        const int64_t height = cut.height(panel);
                                        copy_panel_column(from, height, to);
                                        from += height;
                                        to += GemmTile<T>::kPanel;
                                      }
                                    });
}

/// Evenly spaced addresses, one for each pixel of a tile; null if the spacing is uneven.
template <class T>
using PixelColumn = typename Prefetch<T>::Lines;

/// Where column `column` of the source's matrix lies for a tile's pixels.
template <class T>
PixelColumn<T> source_column(const ConvPlan& plan, const Tile& tile, const Channels<const T>& source,
                             int64_t column) {
  for (const Strip& strip : tile.region->strips) {
    const int64_t first = strip.tap * source.count;
    if (column < first || column >= first + strip.length * source.count || !strip.inside) continue;
    const PixelGrid grid = plan.source_grid(*tile.region, strip);
    if (const auto stride = grid.uniform_stride())
      return {source.data + grid.offset_of(tile.first_pixel) + column - first, *stride};
  }
  return {};
}

/// Rows so many bytes apart fall into the same sets of the first-level cache, each into a page of its own.
constexpr int64_t kPage = 4096;

/// Where the gradient's channel `tile.first_channel` lies for a tile's pixels.
template <class T>
PixelColumn<T> gradient_column(const Tile& tile, const T* group_grad) {
  const PixelGrid& grid = tile.region->destination;
  const auto stride = grid.uniform_stride();
  if (!stride) return {};
  return {group_grad + grid.offset_of(tile.first_pixel) + tile.first_channel, *stride};
}

/// Adds one tile's share to columns [columns.first, columns.first + columns.length) of all rows of a group's
/// weights. `next`: the next tile, or null.
template <class T>
void add_weight_gradient(const ConvPlan& plan, const Tile& tile, const Tile* next, const DepthBlock& columns,
                         const T* group_grad, const Channels<const T>& source, T* const* rows) {
  using Panel = GemmTile<T>;
  const PanelCut cut = PanelCut::of<T>(tile.channels);
  // The gradient's channels are contiguous. Evenly spaced pixels are read in place, unless they lie far apart.
  PixelColumn<T> in_place = gradient_column(tile, group_grad);
  if (in_place.step * int64_t(sizeof(T)) >= kPage) in_place = {};
  const Scratch<T> gradient(in_place.first ? 0 : cut.panels * Panel::kPanel),
      pixels(Panel::kDepth * Panel::kCols);
  if (!in_place.first) pack_gradient(tile, group_grad, gradient.data());
  const auto row_panel = [&](int64_t i) -> RowPanel<T> {
    if (in_place.first) {
      return {in_place.first + cut.first(i), cut.height(i), PanelOrder::kColumns, in_place.step};
    }
    return {gradient.data() + i * Panel::kPanel, cut.height(i), PanelOrder::kColumns};
  };
  const PixelColumn<T> next_gradient = next ? gradient_column(*next, group_grad) : PixelColumn<T>{};
  for (const DepthBlock& block : column_blocks(*tile.region, source.count, Panel::kCols)) {
    const int64_t begin = std::max(block.first, columns.first);
    const int64_t end = std::min(block.first + block.length, columns.first + columns.length);
    if (begin >= end) continue;
    copy_columns(plan, *tile.region, source, tile.first_pixel, tile.pixels, {begin, end - begin},
                 [&](int64_t i) { return pixels.data() + i * Panel::kCols; });
    const bool is_last = end == columns.first + columns.length;
    PixelColumn<T> ahead;
    if (!is_last) {
      ahead = source_column(plan, tile, source, end);
    } else if (next) {
      ahead = source_column(plan, *next, source, columns.first);
    }
    for (int64_t i = 0; i < cut.panels; ++i) {
      Prefetch<T> prefetch;
      if (ahead.first && i < 2) prefetch.columns = {ahead.first + i * Panel::kLanes, ahead.step};
      if (is_last && next_gradient.first) {
        prefetch.rows = {next_gradient.first + cut.first(i), next_gradient.step};
      }
      multiply_panels<T>(
          row_panel(i), pixels.data(), tile.pixels,
          {.rows = rows + cut.first(i), .column = begin, .cols = end - begin, .accumulate = true}, prefetch);
    }
  }
}

}  // namespace

template <class T>
void implicit_gemm_backward_weight_cpu(const Conv2dGeometry& conv, const T* grad, const T* x,
                                       T* grad_weight) {
  if (numel(conv.weight_shape()) == 0) return;
  const ConvPlan plan = plan_forward(conv);
  const WeightWork work = cut_weight_work<T>(conv, plan);
  const int64_t group_c = conv.group_c(), filter = conv.taps() * group_c, size = conv.k * filter;
  const int64_t parts = work.parts();
  const Scratch<T> partial_sums((parts - 1) * size);
  const auto part_data = [&](int64_t part) {
    return part == 0 ? grad_weight : partial_sums.data() + (part - 1) * size;
  };

  parallel_chunks(parts * conv.options.groups * work.slices_down * work.slices_across, [&](int64_t task) {
    const int64_t part = task % parts;
    task /= parts;
    const int64_t across = task % work.slices_across, down = task / work.slices_across % work.slices_down;
    const int64_t group = task / work.slices_across / work.slices_down;
    const int64_t channel = down * work.slice_rows;
    const int64_t channels = std::min(work.slice_rows, conv.group_k() - channel);
    const int64_t col = across * work.slice_cols, cols = std::min(work.slice_cols, filter - col);
    std::vector<T*> rows(static_cast<size_t>(std::max<int64_t>(channels, 0)));
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i] = part_data(part) + (group * conv.group_k() + channel + int64_t(i)) * filter;
      std::fill(rows[i] + col, rows[i] + col + cols, T(0));
    }
    const auto tile_of = [&](size_t i) {
      Tile tile = work.tiles[i];
      tile.first_channel = channel;
      tile.channels = channels;
      return tile;
    };
    const size_t end = work.part_begin[size_t(part) + 1];
    for (size_t i = work.part_begin[size_t(part)]; i < end; ++i) {
      const Tile next = i + 1 < end ? tile_of(i + 1) : Tile{};
      add_weight_gradient<T>(plan, tile_of(i), i + 1 < end ? &next : nullptr, {col, cols},
                             grad + group * conv.group_k(), {x + group * group_c, group_c}, rows.data());
    }
  });
  if (parts == 1) return;
  parallel_for(size, 16384, [&](int64_t begin, int64_t end) {
    for (int64_t part = 1; part < parts; ++part) {
      const T* from = part_data(part);
      for (int64_t i = begin; i < end; ++i) grad_weight[i] += from[i];
    }
  });
}

template void implicit_gemm_backward_weight_cpu(const Conv2dGeometry&, const float*, const float*, float*);
template void implicit_gemm_backward_weight_cpu(const Conv2dGeometry&, const double*, const double*, double*);

}  // namespace taper::ops
