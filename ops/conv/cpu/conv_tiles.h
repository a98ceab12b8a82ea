#pragma once
// The pieces of work of a forward pass or an input gradient: blocks of the result's pixels and channels.

#include <vector>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"
#include "taper/ops/conv/cpu/source_columns.h"
#include "taper/ops/gemm/cpu/gemm.h"

namespace taper::ops {

/// blocks(pixels, channels, depth) returns the GemmBlocks of a region's product.
template <class Blocks>
std::vector<Tile> cut_into_tiles(const ConvPlan& plan, int64_t groups, Blocks&& blocks_of) {
  std::vector<Tile> tiles;
  const int64_t source_channels = plan.source.channels / groups;
  const int64_t channels = plan.destination.channels / groups;
  int64_t first_chunk = 0;
  for (const Region& region : plan.regions) {
    const int64_t pixels = region.destination.size();
    const GemmBlocks blocks = blocks_of(pixels, channels, region.taps() * source_channels);
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t pixel = 0; pixel < pixels; pixel += blocks.rows) {
        for (int64_t channel = 0; channel < channels; channel += blocks.cols) {
          tiles.push_back({&region, group, pixel, std::min(blocks.rows, pixels - pixel), channel,
                           std::min(blocks.cols, channels - channel), first_chunk + pixel / blocks.rows});
        }
      }
    }
    first_chunk += ceil_div(pixels, blocks.rows);
  }
  return tiles;
}

/// The weights of a plan's columns: for each group one packed [depth, channels] matrix, whose row tap * (source
/// channels) + channel belongs to that column. pack_panel(matrix, group, panel) fills one panel.
template <class Packed, class PackPanel>
std::vector<Packed> pack_weights(int64_t groups, int64_t depth, int64_t channels, PackPanel&& pack_panel) {
  std::vector<Packed> packed;
  for (int64_t group = 0; group < groups; ++group) packed.emplace_back(depth, channels);
  const int64_t panels = packed.front().panels();
  parallel_chunks(groups * panels, [&](int64_t chunk) {
    pack_panel(packed[size_t(chunk / panels)], chunk / panels, chunk % panels);
  });
  return packed;
}

/// Returns the number of pixels in each chunk.
inline std::vector<int64_t> chunk_rows(const std::vector<Tile>& tiles) {
  std::vector<int64_t> rows;
  for (const Tile& tile : tiles) {
    if (tile.chunk >= int64_t(rows.size())) rows.resize(size_t(tile.chunk + 1));
    rows[size_t(tile.chunk)] = tile.pixels;
  }
  return rows;
}

/// Returns pointers to a tile's pixels in an image like the destination, from the group's first channel on.
template <class T>
std::vector<T*> destination_rows(const Tile& tile, T* first_channel) {
  std::vector<T*> rows(static_cast<size_t>(tile.pixels));
  tile.region->destination.for_each(
      tile.first_pixel, tile.pixels,
      [&](int64_t i, int64_t offset, int64_t, int64_t) { rows[size_t(i)] = first_channel + offset; });
  return rows;
}

}  // namespace taper::ops
