#include "taper/ops/conv/cpu/implicit_gemm.h"  // spine 30 (docs/0-the-spine.md)

#include <optional>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"
#include "taper/ops/conv/cpu/conv_tiles.h"

namespace taper::ops {
namespace {

/// Writes a tile whose pixels see no tap: all its sums are 0.
template <class T>
void store_zeros(const Tile& tile, const ConvEpilogue<T>& epilogue, const std::vector<T*>& rows,
                 const std::vector<const T*>& residual_rows, const ColumnMoments<T>& moments) {
  for (size_t i = 0; i < rows.size(); ++i) {
    for (int64_t c = tile.first_channel; c < tile.first_channel + tile.channels; ++c) {
      T value = epilogue.bias ? epilogue.bias[c] : T(0);
      if (epilogue.residual) value += residual_rows[i][c];
      rows[i][c] = epilogue.relu && value < T(0) ? T(0) : value;
    }
  }
  if (moments) {
    moments.merge_rows(rows.data(), tile.pixels, tile.first_channel, tile.first_channel + tile.channels);
  }
}

/// What tile `next` reads of the source that `tile` has not read: its pixels' last taps, if contiguous.
template <class T>
Next<T> source_of(const ConvPlan& plan, const Tile& next, const Tile& tile, const Channels<const T>& source) {
  const bool same_pixels = next.region == tile.region && next.first_pixel == tile.first_pixel;
  if (same_pixels || next.group != tile.group || next.region->strips.empty()) return {};
  const PixelGrid grid = plan.source_grid(*next.region, next.region->strips.back());
  const int64_t first = std::max<int64_t>(grid.offset_of(next.first_pixel), 0);
  const int64_t size = grid.offset_of(next.first_pixel + next.pixels - 1) + source.count - first;
  const bool together = size < 2 * next.pixels * source.count;
  return together ? Next<T>{.source = source.data + first, .source_size = size} : Next<T>{};
}

/// Computes destination pixels from source pixels: the forward pass, or the gradient w.r.t. the input.
template <class T>
void convolve(const ConvPlan& plan, const std::vector<PackedColumns<T>>& weights, const T* source,
              const ConvEpilogue<T>& epilogue, T* destination, const ChannelMoments<T>& moments = {}) {
  const auto groups = int64_t(weights.size());
  const std::vector<Tile> tiles = cut_into_tiles(plan, groups, gemm_blocks<T>);
  std::optional<ChunkMoments<T>> chunks;
  if (moments) chunks.emplace(chunk_rows(tiles), plan.destination.channels);
  const int64_t source_channels = plan.source.channels / groups;
  const int64_t group_channels = plan.destination.channels / groups;
  const int64_t bytes = plan.destination.n * plan.destination.height * plan.destination.width *
                        plan.destination.channels * int64_t(sizeof(T));
  const bool stream =
      bytes >= kStreamBytes && plan.destination.channels % (groups * GemmTile<T>::kLanes) == 0;
  const int64_t threads = num_threads();
  parallel_chunks(int64_t(tiles.size()), [&](int64_t index) {
    const Tile& tile = tiles[size_t(index)];
    const Channels<const T> group_source = {source + tile.group * source_channels, source_channels};
    const std::vector<T*> rows = destination_rows(tile, destination + tile.group * group_channels);
    const ConvEpilogue<T> own = epilogue.from_channel(tile.group * group_channels);
    std::vector<const T*> residual_rows;
    if (own.residual) residual_rows = destination_rows(tile, own.residual);
    const std::vector<DepthBlock> blocks = column_blocks(*tile.region, source_channels, GemmTile<T>::kDepth);
    const ColumnMoments<T> tile_moments =
        chunks ? chunks->chunk(tile.chunk, tile.group * group_channels) : ColumnMoments<T>();
    if (blocks.empty()) return store_zeros(tile, own, rows, residual_rows, tile_moments);
    const PanelCut cut = PanelCut::of<T>(tile.pixels);
    const auto next = size_t(index + threads);  // this thread's next, if threads keep step
    const Next<T> after = next < tiles.size() ? source_of(plan, tiles[next], tile, group_source) : Next<T>{};
    multiply_rows<T>(PanelOrder::kRows, tile.pixels, weights[size_t(tile.group)], tile.first_channel,
                     tile.channels, blocks,
                     {.rows = rows.data(),
                      .bias = own.bias,
                      .residual = own.residual ? residual_rows.data() : nullptr,
                      .relu = own.relu,
                      .stream = stream,
                      .moments = tile_moments},
                     after, [&](size_t block, T* panels) {
                       for (int64_t panel = 0; panel < cut.panels; ++panel) {
                         T* const to = panels + panel * GemmTile<T>::kPanel;
                         copy_columns(plan, *tile.region, group_source, tile.first_pixel + cut.first(panel),
                                      cut.height(panel), blocks[block],
                                      [&](int64_t i) { return to + i * GemmTile<T>::kRowStride; });
                       }
                     });
  });
  if (chunks) chunks->finish(moments);
}

}  // namespace

template <class T>
std::vector<PackedColumns<T>> implicit_gemm_pack_weight(const Conv2dGeometry& conv, const T* weight) {
  const int64_t filter = conv.taps() * conv.group_c();
  // The weights of one output channel are contiguous: a column of the second factor.
  return pack_weights<PackedColumns<T>>(
      conv.options.groups, filter, conv.group_k(),
      [&](PackedColumns<T>& packed, int64_t group, int64_t panel) {
        const T* first = weight + group * conv.group_k() * filter;
        packed.pack_panel(Matrix<const T>{first, filter, conv.group_k(), filter, true}, panel);
      });
}

template <class T>
void implicit_gemm_forward_cpu(const Conv2dGeometry& conv, const T* x,
                               const std::vector<PackedColumns<T>>& weight, const ConvEpilogue<T>& epilogue,
                               T* y, const ChannelMoments<T>& moments) {
  convolve(plan_forward(conv), weight, x, epilogue, y, moments);
}

template <class T>
void implicit_gemm_backward_input_cpu(const Conv2dGeometry& conv, const T* grad, const T* weight, T* grad_x) {
  const ConvPlan plan = plan_backward_input(conv);
  const int64_t filter = conv.taps() * conv.group_c();
  const auto packed = pack_weights<PackedColumns<T>>(
      conv.options.groups, conv.taps() * conv.group_k(), conv.group_c(),
      [&](PackedColumns<T>& to, int64_t group, int64_t panel) {
        const int64_t c = panel * GemmTile<T>::kCols,
                      count = std::min(GemmTile<T>::kCols, conv.group_c() - c);
        for (int64_t tap = 0; tap < conv.taps(); ++tap) {
          const T* first = weight + group * conv.group_k() * filter + tap * conv.group_c() + c;
          pack_columns(Matrix<const T>{first, conv.group_k(), count, filter},
                       to.panel(panel) + tap * conv.group_k() * GemmTile<T>::kCols);
        }
      });
  convolve<T>(plan, packed, grad, {}, grad_x);
}

template std::vector<PackedColumns<float>> implicit_gemm_pack_weight(const Conv2dGeometry&, const float*);
template void implicit_gemm_forward_cpu(const Conv2dGeometry&, const float*,
                                        const std::vector<PackedColumns<float>>&, const ConvEpilogue<float>&,
                                        float*, const ChannelMoments<float>&);
template std::vector<PackedColumns<double>> implicit_gemm_pack_weight(const Conv2dGeometry&, const double*);
template void implicit_gemm_forward_cpu(const Conv2dGeometry&, const double*,
                                        const std::vector<PackedColumns<double>>&,
                                        const ConvEpilogue<double>&, double*, const ChannelMoments<double>&);
template void implicit_gemm_backward_input_cpu(const Conv2dGeometry&, const float*, const float*, float*);
template void implicit_gemm_backward_input_cpu(const Conv2dGeometry&, const double*, const double*, double*);

}  // namespace taper::ops
