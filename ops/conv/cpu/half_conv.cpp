#include "taper/ops/conv/cpu/half_conv.h"

#include <optional>

#include "taper/core/base/parallel.h"
#include "taper/ops/conv/cpu/conv_tiles.h"
#include "taper/ops/conv/cpu/source_band.h"

namespace taper::ops {
namespace {

/// Small regions waste parts of a tile, and read all weights of their taps for few pixels.
constexpr int64_t kHalfTapCost = 256;

/// Blocks of the depth begin on cache lines.
constexpr int64_t kBlockStep = 64;

int64_t tap_cost_of(int64_t source_channels) {
  return source_channels % 2 == 0 ? kHalfTapCost : kKeepTaps;
}

/// Packs what the tile's pixels see in one block of the depth.
template <class K, class T>
void pack_source(const ConvPlan& plan, const Tile& tile, const Channels<const T>& source,
                 const DepthBlock& block, typename K::Element* panels) {
  copy_columns(plan, *tile.region, source, tile.first_pixel, tile.pixels, block,
               [&](int64_t i) { return panels + i * K::kRowStride; });
  const int64_t end = round_up(block.length, K::kDepthStep);
  if (end == block.length) return;
  for (int64_t i = 0; i < tile.pixels; ++i) {
    typename K::Element* const row = panels + i * K::kRowStride;
    std::fill(row + block.length, row + end, 0.f);
  }
}

/// A tile's rows as positions of its source, 16 to a half of a panel.
template <class T>
struct BandRows {
  static constexpr int64_t kHalf = PairKernel::kRows / 2;

  std::vector<const T*> halves;      ///< where each half begins in the source
  std::vector<int64_t> rows_before;  ///< of the result, before each half
  std::vector<T*> results;           ///< null where a position is no destination pixel
  std::vector<const T*> residuals;

  /// latest: where a half begins at the latest.
  BandRows(const PaddedSource& padded, const Tile& tile, const T* band, int64_t stride, int64_t latest,
           const HalfOutput<T>& out) {
    int64_t begin = -kHalf;
    for (int64_t i = 0; i < tile.pixels; ++i) {
      const int64_t position = padded.position(tile.first_pixel + i);
      if (position >= begin + kHalf) {
        begin = std::min(position, latest);
        halves.push_back(band + begin * stride);
        rows_before.push_back(i);
        results.resize(halves.size() * kHalf);
        if (out.residual) residuals.resize(results.size());
      }
      const size_t place = (halves.size() - 1) * kHalf + size_t(position - begin);
      results[place] = out.rows[i];
      if (out.residual) residuals[place] = out.residual[i];
    }
  }
};

/// Computes a tile without im2col.
template <class T>
void multiply_band(const PairKernel& kernel, const PaddedSource& padded, const Tile& tile,
                   const Channels<const T>& source, int64_t pixel_stride,
                   const PackedHalves<PairKernel>& weight, const HalfOutput<T>& out) {
  using K = PairKernel;
  using Rows = BandRows<T>;
  const int64_t first = padded.position(tile.first_pixel);
  const int64_t last = padded.position(tile.first_pixel + tile.pixels - 1), reach = padded.reach();
  const bool in_place = padded.is_source() && padded.positions() >= reach + Rows::kHalf;
  const int64_t stride = in_place ? pixel_stride : source.count;
  // The last half may load positions behind the last pixel.
  const Scratch<T> copy(in_place ? 0 : (padded.copied(first, last + reach) + Rows::kHalf) * source.count);
  const T* band = source.data;
  if (!in_place) band = copy.data() - padded.copy(source, first, last + reach, copy.data()) * stride;
  const Rows rows(padded, tile, band, stride, in_place ? padded.positions() - reach - Rows::kHalf : last,
                  out);
  std::vector<K::Strip> strips;
  for (const Strip& strip : tile.region->strips) {
    strips.push_back(
        {padded.distance(strip) * stride, strip.tap * source.count, strip.length * source.count});
  }
  alignas(64) float sums[K::kRows * K::kCols];
  const KernelScope scope(kernel);
  for (int64_t col = 0; col < tile.channels; col += K::kCols) {
    const BFloat16* const panel = weight.panel((tile.first_channel + col) / K::kCols);
    for (size_t i = 0; i < rows.halves.size(); i += 2) {
      const T* const lower = i + 1 < rows.halves.size() ? rows.halves[i + 1] : nullptr;
      kernel.multiply_strips(rows.halves[i], lower, stride, strips, panel, sums);
      HalfOutput<T> part = out;
      part.rows = rows.results.data() + int64_t(i) * Rows::kHalf;
      if (out.residual) part.residual = rows.residuals.data() + int64_t(i) * Rows::kHalf;
      part.column = tile.first_channel + col;
      part.moments.rows = rows.rows_before[i];
      finish_tile<K>(sums, lower ? K::kRows : Rows::kHalf, std::min(K::kCols, tile.channels - col), part);
    }
  }
}

/// Computes destination pixels from source pixels: the forward pass, or the gradient w.r.t. the input.
template <class K, class T>
void convolve_half(const K& kernel, const ConvPlan& plan, const std::vector<PackedHalves<K>>& weights,
                   const T* source, const HalfEpilogue<T>& epilogue, T* destination,
                   const ChannelMoments<float>& moments = {}) {
  const auto groups = int64_t(weights.size());
  const std::vector<Tile> tiles = cut_into_tiles(plan, groups, half_blocks<K>);
  std::optional<ChunkMoments<float>> chunks;
  if (moments) chunks.emplace(chunk_rows(tiles), plan.destination.channels);
  const int64_t source_channels = plan.source.channels / groups;
  const int64_t group_channels = plan.destination.channels / groups;
  parallel_chunks(int64_t(tiles.size()), [&](int64_t index) {
    const Tile& tile = tiles[size_t(index)];
    const int64_t first = tile.group * group_channels;
    const Channels<const T> group_source = {source + tile.group * source_channels, source_channels};
    const std::vector<T*> rows = destination_rows(tile, destination + first);
    std::vector<const T*> residual_rows;
    if (epilogue.residual) residual_rows = destination_rows(tile, epilogue.residual + first);
    const HalfOutput<T> out = {.rows = rows.data(),
                               .bias = epilogue.bias ? epilogue.bias + first : nullptr,
                               .residual = epilogue.residual ? residual_rows.data() : nullptr,
                               .relu = epilogue.relu,
                               .moments = chunks ? chunks->chunk(tile.chunk, first) : ColumnMoments<float>()};
    const PackedHalves<K>& weight = weights[size_t(tile.group)];
    if constexpr (K::kUnit == 2) {
      const PaddedSource padded(plan, *tile.region);
      if (kernel.multiply_strips && source_channels % K::kDepthStep == 0 && padded.fits())
        return multiply_band(kernel, padded, tile, group_source, plan.source.channels, weight, out);
    }
    const std::vector<DepthBlock> blocks =
        column_blocks(*tile.region, source_channels, K::kDepth, kBlockStep);
    multiply_rows_half<K>(kernel, tile.pixels, weight, tile.first_channel, tile.channels, blocks, out,
                          [&](size_t block, typename K::Element* panels) {
                            pack_source<K>(plan, tile, group_source, blocks[block], panels);
                          });
  });
  if (chunks) chunks->finish(moments);
}

}  // namespace

bool supports_pairs(const Conv2dGeometry& conv, bool backward_input) {
  const IntPair stride = conv.options.stride;
  return !backward_input || conv.group_k() % 2 == 0 || (stride.h == 1 && stride.w == 1);
}

template <class K, class T>
std::vector<PackedHalves<K>> half_conv_pack_weight(const Conv2dGeometry& conv, const T* weight) {
  const int64_t filter = conv.taps() * conv.group_c();
  return pack_weights<PackedHalves<K>>(conv.options.groups, filter, conv.group_k(),
                                       [&](const PackedHalves<K>& packed, int64_t group, int64_t panel) {
                                         const int64_t first = group * conv.group_k() + panel * K::kCols;
                                         packed.pack_panel_transposed(panel, weight + first * filter, filter);
                                       });
}

template <class K, class T>
void half_conv_forward(const K& kernel, const Conv2dGeometry& conv, const T* x,
                       const std::vector<PackedHalves<K>>& weight, const HalfEpilogue<T>& epilogue, T* y,
                       const ChannelMoments<float>& moments) {
  convolve_half<K>(kernel, plan_forward(conv, tap_cost_of(conv.group_c())), weight, x, epilogue, y, moments);
}

template <class K, class T>
void half_conv_backward_input(const K& kernel, const Conv2dGeometry& conv, const T* grad, const T* weight,
                              T* grad_x) {
  const int64_t group_c = conv.group_c(), group_k = conv.group_k();
  const int64_t filter = conv.taps() * group_c, depth = conv.taps() * group_k;
  const auto packed = pack_weights<PackedHalves<K>>(
      conv.options.groups, depth, group_c, [&](const PackedHalves<K>& to, int64_t group, int64_t panel) {
        std::vector<const T*> rows(static_cast<size_t>(depth));
        for (int64_t i = 0; i < depth; ++i) {
          const int64_t tap = i / group_k, k = i % group_k;
          rows[size_t(i)] = weight + (group * group_k + k) * filter + tap * group_c;
        }
        to.pack_panel(panel, rows.data());
      });
  convolve_half<K, T>(kernel, plan_backward_input(conv, tap_cost_of(group_k)), packed, grad, {}, grad_x);
}

// NOLINTBEGIN(bugprone-macro-parentheses): types
#define TAPER_HALF_CONV(K, T)                                                                      \
  template std::vector<PackedHalves<K>> half_conv_pack_weight(const Conv2dGeometry&, const T*);    \
  template void half_conv_forward(const K&, const Conv2dGeometry&, const T*,                       \
                                  const std::vector<PackedHalves<K>>&, const HalfEpilogue<T>&, T*, \
                                  const ChannelMoments<float>&);                                   \
  template void half_conv_backward_input(const K&, const Conv2dGeometry&, const T*, const T*, T*)
// NOLINTEND(bugprone-macro-parentheses)
#if TAPER_HAVE_AVX512BF16
TAPER_HALF_CONV(PairKernel, BFloat16);
#endif
TAPER_HALF_CONV(WideningKernel, BFloat16);
TAPER_HALF_CONV(WideningKernel, Half);
#undef TAPER_HALF_CONV

}  // namespace taper::ops
