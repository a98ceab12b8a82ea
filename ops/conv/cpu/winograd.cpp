#include "taper/ops/conv/cpu/winograd.h"

#include <algorithm>
#include <optional>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"
#include "taper/ops/conv/cpu/winograd_tiles.h"
#include "taper/ops/conv/cpu/winograd_transforms.h"
#include "taper/ops/gemm/cpu/gemm_pack.h"

namespace taper::ops {
namespace {

/// Bytes of transformed tiles and their products that go through the cache at a time.
constexpr int64_t kBatchBytes = int64_t(4) << 20;

/// The distance between the points of a transform. A transform accesses all points together; at a distance of
/// a power of two they would compete for the same cache sets.
template <class T>
int64_t apart(int64_t size) {
  return size + Simd<T>::kLanes;
}

/// Transformed input tiles, packed as the kernel's rows. Each panel of tiles holds the channels of each point
/// of the transform, in units of at most kDepth.
template <class T>
struct TransformedTiles {
  using Panel = GemmTile<T>;

  TransformedTiles(int64_t channels, int64_t points)
      : channels_(channels),
        points_per_unit_(std::max<int64_t>(Panel::kDepth / channels, 1)),
        blocks_(ceil_div(channels, Panel::kDepth)),
        units_(ceil_div(points, points_per_unit_) * blocks_) {}

  int64_t panel_size() const { return units_ * Panel::kPanel; }
  /// The offset of channel `c` of a point in row 0 of a panel.
  int64_t offset(int64_t point, int64_t c) const {
    const int64_t unit = point / points_per_unit_ * blocks_ + c / Panel::kDepth;
    return unit * Panel::kPanel + point % points_per_unit_ * channels_ + c % Panel::kDepth;
  }

 private:
  int64_t channels_, points_per_unit_, blocks_, units_;
};

/// The forward pass, or the gradient with respect to the input: source pixels to destination pixels.
/// weights[point] is a packed (source channels) x (destination channels) matrix.
template <class T, int kOut>
void convolve_tiles(const TileGrid& in, const TileGrid& out, const std::vector<PackedColumns<T>>& weights,
                    const T* source, const ConvEpilogue<T>& epilogue, T* destination,
                    const ChannelMoments<T>& moments = {}) {
  using Panel = GemmTile<T>;
  using W = Winograd<kOut>;
  constexpr int64_t kSide = kOut + 2, kPoints = kSide * kSide, kLanes = Simd<T>::kLanes;
  const int64_t c_in = in.image.channels, c_out = out.image.channels, tiles = in.size();
  const TransformedTiles<T> layout(c_in, kPoints);
  const int64_t tile_bytes = kPoints * (c_in + c_out) * int64_t(sizeof(T));
  const int64_t batches = ceil_div(tiles, std::max(kBatchBytes / tile_bytes, 2 * Panel::kRows));
  const int64_t most = batches == 0 ? 0 : ceil_div(tiles, batches);
  const Scratch<T> transformed(PanelCut::of<T>(most).panels * layout.panel_size());
  const int64_t point_stride = apart<T>(c_out);
  const Scratch<T> products(most * kPoints * point_stride), nothing(c_in), unused(c_out);
  std::fill(nothing.data(), nothing.data() + c_in, T(0));
  const int64_t most_panels = PanelCut::of<T>(most).panels;
  std::optional<ChunkMoments<T>> gathered;  // one for each panel of each batch
  if (moments) gathered.emplace(std::vector<int64_t>(size_t(batches * most_panels)), c_out);

  for (int64_t first = 0; first < tiles; first += most) {
    const int64_t count = std::min(most, tiles - first);
    const PanelCut cut = PanelCut::of<T>(count);

    parallel_chunks(cut.panels, [&](int64_t panel) {
      for (int64_t i = 0; i < cut.height(panel); ++i) {
        const T* pixels[kPoints];
        in.pixels<const T>(first + cut.first(panel) + i, source, nothing.data(), pixels);
        T* const row = transformed.data() + panel * layout.panel_size() + i * Panel::kRowStride;
        for (int64_t c = 0; c < c_in; c += kLanes) {
          transform_tile<T, Constants<W::kInput, false>>(
              [&](size_t y, size_t x) { return Simd<T>::load(pixels[int64_t(y) * kSide + int64_t(x)] + c); },
              [&](size_t y, size_t x, auto value) {
                Simd<T>::store(row + layout.offset(int64_t(y) * kSide + int64_t(x), c), value);
              });
        }
      }
    });

    // The results of a tile are contiguous, point by point.
    std::vector<T*> rows(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) rows[size_t(i)] = products.data() + i * kPoints * point_stride;
    constexpr int64_t kSlice = 4 * Panel::kCols;
    const int64_t slices = ceil_div(c_out, kSlice);
    const int64_t chunks = kPoints * slices, threads = num_threads();
    const auto first_panel = [&](int64_t chunk, int64_t c) {
      return weights[size_t(chunk / slices)].panel(chunk % slices * kSlice / Panel::kCols) + c * Panel::kCols;
    };
    parallel_chunks(chunks, [&](int64_t chunk) {
      const int64_t point = chunk / slices, first_col = chunk % slices * kSlice;
      for (int64_t c = 0; c < c_in; c += Panel::kDepth) {
        const auto panel = [&](int64_t i) {
          return RowPanel<T>{transformed.data() + i * layout.panel_size() + layout.offset(point, c),
                             cut.height(i)};
        };
        const DepthBlock depth = {c, std::min(Panel::kDepth, c_in - c)};
        // After the last block comes another chunk: this thread's next, if threads keep step.
        const T* const after = c + depth.length < c_in    ? first_panel(chunk, c + depth.length)
                               : chunk + threads < chunks ? first_panel(chunk + threads, 0)
                                                          : nullptr;
        multiply_depth_block<T>(
            cut, panel, weights[size_t(point)], first_col, std::min(kSlice, c_out - first_col), depth,
            {.rows = rows.data(), .column = point * point_stride, .accumulate = c > 0}, {.panel = after});
      }
    });

    parallel_chunks(cut.panels, [&](int64_t panel) {
      const int64_t chunk = first / most * most_panels + panel;
      ColumnMoments<T> panel_moments = gathered ? gathered->chunk(chunk) : ColumnMoments<T>();
      for (int64_t i = cut.first(panel); i < cut.first(panel) + cut.height(panel); ++i) {
        T* pixels[kOut * kOut];
        out.pixels<T>(first + i, destination, unused.data(), pixels);
        for (int64_t c = 0; c < c_out; c += kLanes) {
          typename Simd<T>::Vector start{};
          if (epilogue.bias) start = Simd<T>::load(epilogue.bias + c);
          transform_tile<T, Constants<W::kOutput, false>>(
              [&](size_t y, size_t x) {
                return Simd<T>::load(rows[size_t(i)] + (int64_t(y) * kSide + int64_t(x)) * point_stride + c);
              },
              [&](size_t y, size_t x, auto value) {
                T* const pixel = pixels[y * kOut + x];
                if (pixel == unused.data()) return;
                auto sum = value + start;
                if (epilogue.residual) sum += Simd<T>::load(epilogue.residual + (pixel - destination) + c);
                if (epilogue.relu) sum = sum < 0 ? typename Simd<T>::Vector{} : sum;
                Simd<T>::store(pixel + c, sum);
              });
        }
        if (!panel_moments) continue;
        const int64_t inside = std::remove(pixels, pixels + kOut * kOut, unused.data()) - pixels;
        panel_moments.merge_rows(pixels, inside, 0, c_out);
        panel_moments.rows += inside;
      }
      if (gathered) gathered->set_rows(chunk, panel_moments.rows);
    });
  }
  if (gathered) gathered->finish(moments);
}

/// Returns a packed matrix for each point. fill(out channel, in channel, pointers) transforms the kernels of
/// one vector of channels.
template <class T>
std::vector<PackedColumns<T>> empty_weights(int64_t points, int64_t c_in, int64_t c_out) {
  const int64_t stride = apart<T>(PackedColumns<T>::elements(c_in, c_out));
  const Scratch<T> memory(points * stride);
  std::vector<PackedColumns<T>> weights;
  for (int64_t i = 0; i < points; ++i) weights.emplace_back(c_in, c_out, memory, i * stride);
  return weights;
}

/// G w G^T of one vector of input channels, from the nine taps at `taps`, `tap_stride` apart.
template <class T, int kOut, bool kRotated, class Store>
void transform_weights(const T* taps, int64_t tap_stride, Store&& store) {
  transform_tile<T, Constants<Winograd<kOut>::kWeight, false>>(
      [&](size_t r, size_t s) {
        const auto tap = int64_t(r * 3 + s);
        return Simd<T>::load(taps + (kRotated ? 8 - tap : tap) * tap_stride);
      },
      store);
}

/// Transforms the weights that lead from the gradient's channels k to the input's channels c, with the kernel
/// rotated by 180 degrees.
template <class T, int kOut>
std::vector<PackedColumns<T>> backward_weights(const Conv2dGeometry& conv, const T* weight) {
  constexpr int64_t kSide = kOut + 2, kLanes = Simd<T>::kLanes, kCols = GemmTile<T>::kCols;
  auto packed = empty_weights<T>(kSide * kSide, conv.k, conv.c);
  parallel_for(conv.k, 8, [&](int64_t begin, int64_t end) {
    for (int64_t c = 0; c < conv.c; c += kLanes) {
      for (int64_t k = begin; k < end; ++k) {
        transform_weights<T, kOut, true>(weight + k * 9 * conv.c + c, conv.c,
                                         [&](size_t y, size_t x, auto value) {
                                           T* const panel = packed[y * kSide + x].panel(c / kCols);
                                           Simd<T>::store(panel + k * kCols + c % kCols, value);
                                         });
      }
    }
  });
  return packed;
}

/// Tiles of `side` pixels every kOut, enough to cover rows x cols outputs.
template <int kOut>
TileGrid tile_grid(const ImageBatch& image, int64_t side, IntPair origin, int64_t rows, int64_t cols) {
  return {image, side, kOut, origin.h, origin.w, ceil_div(rows, kOut), ceil_div(cols, kOut)};
}

ImageBatch input_batch(const Conv2dGeometry& conv) {
  return {conv.n, conv.h, conv.w, conv.c};
}
ImageBatch output_batch(const Conv2dGeometry& conv) {
  return {conv.n, conv.p, conv.q, conv.k};
}

}  // namespace

template <class T>
bool supports_winograd(const Conv2dGeometry& conv) {
  const Conv2dOptions& o = conv.options;
  return conv.r == 3 && conv.s == 3 && o.stride.h == 1 && o.stride.w == 1 && o.dilation.h == 1 &&
         o.dilation.w == 1 && o.groups == 1 && o.padding.h <= 2 && o.padding.w <= 2 && conv.c > 0 &&
         conv.k > 0 && conv.c % Simd<T>::kLanes == 0 && conv.k % Simd<T>::kLanes == 0;
}

template <class T, int kOut>
std::vector<PackedColumns<T>> winograd_transform_weight(const Conv2dGeometry& conv, const T* weight) {
  constexpr int64_t kSide = kOut + 2, kPoints = kSide * kSide, kLanes = Simd<T>::kLanes;
  constexpr int64_t kCols = GemmTile<T>::kCols;
  // The weights of one output channel are contiguous in c, the packed rows in k.
  auto packed = empty_weights<T>(kPoints, conv.c, conv.k);
  parallel_chunks(ceil_div(conv.k, kLanes), [&](int64_t chunk) {
    const int64_t k = chunk * kLanes;
    const Scratch<T> blocks(kPoints * kLanes * kLanes);
    for (int64_t c = 0; c < conv.c; c += kLanes) {
      for (int64_t i = 0; i < kLanes; ++i) {
        transform_weights<T, kOut, false>(
            weight + (k + i) * 9 * conv.c + c, conv.c, [&](size_t y, size_t x, auto value) {
              Simd<T>::store(blocks.data() + ((int64_t(y) * kSide + int64_t(x)) * kLanes + i) * kLanes,
                             value);
            });
      }
      for (int64_t point = 0; point < kPoints; ++point) {
        transpose_block(blocks.data() + point * kLanes * kLanes, kLanes,
                        packed[size_t(point)].panel(k / kCols) + c * kCols + k % kCols, kCols);
      }
    }
  });
  return packed;
}

template <class T, int kOut>
void winograd_forward_cpu(const Conv2dGeometry& conv, const T* x, const std::vector<PackedColumns<T>>& weight,
                          const ConvEpilogue<T>& epilogue, T* y, const ChannelMoments<T>& moments) {
  const IntPair padding = conv.options.padding;
  convolve_tiles<T, kOut>(
      tile_grid<kOut>(input_batch(conv), kOut + 2, {-padding.h, -padding.w}, conv.p, conv.q),
      tile_grid<kOut>(output_batch(conv), kOut, 0, conv.p, conv.q), weight, x, epilogue, y, moments);
}

template <class T, int kOut>
void winograd_backward_input_cpu(const Conv2dGeometry& conv, const T* grad, const T* weight, T* grad_x) {
  const IntPair padding = conv.options.padding;
  convolve_tiles<T, kOut>(
      tile_grid<kOut>(output_batch(conv), kOut + 2, {padding.h - 2, padding.w - 2}, conv.h, conv.w),
      tile_grid<kOut>(input_batch(conv), kOut, 0, conv.h, conv.w), backward_weights<T, kOut>(conv, weight),
      grad, {}, grad_x);
}

/// The sums over tiles, one matrix [K, C] for each point: products of transformed gradients and inputs.
template <class T, int kOut>
void winograd_backward_weight_cpu(const Conv2dGeometry& conv, const T* grad, const T* x, T* grad_weight) {
  using Panel = GemmTile<T>;
  using W = Winograd<kOut>;
  constexpr int64_t kSide = kOut + 2, kPoints = kSide * kSide, kLanes = Simd<T>::kLanes;
  constexpr int64_t kCols = Panel::kCols, kHeight = std::min<int64_t>(kLanes, Panel::kRows >= 8 ? 8 : 4);
  const IntPair padding = conv.options.padding;
  const TileGrid in = tile_grid<kOut>(input_batch(conv), kSide, {-padding.h, -padding.w}, conv.p, conv.q);
  const TileGrid out = tile_grid<kOut>(output_batch(conv), kOut, 0, conv.p, conv.q);
  const int64_t tiles = in.size(), c_panels = ceil_div(conv.c, kCols), k_panels = conv.k / kHeight;
  const int64_t tile_bytes = kPoints * (conv.c + 2 * conv.k) * int64_t(sizeof(T));
  const int64_t batches = std::max(ceil_div(tiles, Panel::kDepth),
                                   ceil_div(tiles, std::max<int64_t>(kBatchBytes / tile_bytes, 32)));
  const int64_t most = batches == 0 ? 0 : ceil_div(tiles, batches);

  // Panels of one point follow each other: rows of gradients [k panel][tile][kRows], columns [c
  // panel][tile][kCols].
  const int64_t gradient_stride = apart<T>(k_panels * most * Panel::kRows);
  const int64_t input_stride = apart<T>(c_panels * most * kCols), sum_stride = apart<T>(conv.k * conv.c);
  const Scratch<T> gradients(kPoints * gradient_stride), inputs(kPoints * input_stride);
  const Scratch<T> sums(kPoints * sum_stride), nothing(std::max(conv.c, conv.k));
  std::fill(nothing.data(), nothing.data() + std::max(conv.c, conv.k), T(0));
  if (tiles == 0) std::fill(sums.data(), sums.data() + kPoints * sum_stride, T(0));
  for (int64_t first = 0; first < tiles; first += most) {
    const int64_t count = std::min(most, tiles - first);
    parallel_for(count, 8, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const T* pixels[kPoints];
        in.pixels<const T>(first + t, x, nothing.data(), pixels);
        for (int64_t c = 0; c < conv.c; c += kLanes) {
          transform_tile<T, Constants<W::kInput, false>>(
              [&](size_t i, size_t j) { return Simd<T>::load(pixels[int64_t(i) * kSide + int64_t(j)] + c); },
              [&](size_t i, size_t j, auto value) {
                const int64_t point = int64_t(i) * kSide + int64_t(j);
                Simd<T>::store(
                    inputs.data() + point * input_stride + (c / kCols * most + t) * kCols + c % kCols, value);
              });
        }
        out.pixels<const T>(first + t, grad, nothing.data(), pixels);
        for (int64_t k = 0; k < conv.k; k += kLanes) {
          transform_tile<T, Constants<W::kOutput, true>>(
              [&](size_t i, size_t j) { return Simd<T>::load(pixels[int64_t(i) * kOut + int64_t(j)] + k); },
              [&](size_t i, size_t j, typename Simd<T>::Vector value) {
                const int64_t point = int64_t(i) * kSide + int64_t(j);
                T* to = gradients.data() + point * gradient_stride + (k / kHeight * most + t) * Panel::kRows;
                alignas(kVectorBytes) T lanes[kLanes];
                Simd<T>::store(lanes, value);
                for (int64_t lane = 0; lane < kLanes; lane += kHeight, to += most * Panel::kRows) {
                  std::memcpy(to, lanes + lane, size_t(kHeight) * sizeof(T));
                }
              });
        }
      }
    });

    const int64_t slices = ceil_div(c_panels, 4);
    parallel_chunks(kPoints * slices, [&](int64_t chunk) {
      const int64_t point = chunk / slices, slice = chunk % slices;
      std::vector<T*> rows(static_cast<size_t>(conv.k));
      for (int64_t k = 0; k < conv.k; ++k) rows[size_t(k)] = sums.data() + point * sum_stride + k * conv.c;
      for (int64_t panel = slice * 4; panel < std::min(slice * 4 + 4, c_panels); ++panel) {
        const T* b = inputs.data() + point * input_stride + panel * most * kCols;
        for (int64_t i = 0; i < k_panels; ++i) {
          multiply_panels<T>({gradients.data() + point * gradient_stride + i * most * Panel::kRows, kHeight,
                              PanelOrder::kColumns},
                             b, count,
                             {.rows = rows.data() + i * kHeight,
                              .column = panel * kCols,
                              .cols = std::min(kCols, conv.c - panel * kCols),
                              .accumulate = first > 0});
        }
      }
    });
  }

  parallel_for(conv.k, 4, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      for (int64_t c = 0; c < conv.c; c += kLanes) {
        transform_tile<T, Constants<W::kWeight, true>>(
            [&](size_t i, size_t j) {
              const int64_t point = int64_t(i) * kSide + int64_t(j);
              return Simd<T>::load(sums.data() + point * sum_stride + k * conv.c + c);
            },
            [&](size_t r, size_t s, auto value) {
              Simd<T>::store(grad_weight + (k * 9 + int64_t(r * 3 + s)) * conv.c + c, value);
            });
      }
    }
  });
}

template bool supports_winograd<float>(const Conv2dGeometry&);
template bool supports_winograd<double>(const Conv2dGeometry&);
template std::vector<PackedColumns<float>> winograd_transform_weight<float, 2>(const Conv2dGeometry&,
                                                                               const float*);
template void winograd_forward_cpu<float, 2>(const Conv2dGeometry&, const float*,
                                             const std::vector<PackedColumns<float>>&,
                                             const ConvEpilogue<float>&, float*,
                                             const ChannelMoments<float>&);
template void winograd_backward_input_cpu<float, 2>(const Conv2dGeometry&, const float*, const float*,
                                                    float*);
template void winograd_backward_weight_cpu<float, 2>(const Conv2dGeometry&, const float*, const float*,
                                                     float*);
template std::vector<PackedColumns<float>> winograd_transform_weight<float, 4>(const Conv2dGeometry&,
                                                                               const float*);
template void winograd_forward_cpu<float, 4>(const Conv2dGeometry&, const float*,
                                             const std::vector<PackedColumns<float>>&,
                                             const ConvEpilogue<float>&, float*,
                                             const ChannelMoments<float>&);
template void winograd_backward_input_cpu<float, 4>(const Conv2dGeometry&, const float*, const float*,
                                                    float*);
template void winograd_backward_weight_cpu<float, 4>(const Conv2dGeometry&, const float*, const float*,
                                                     float*);
template std::vector<PackedColumns<double>> winograd_transform_weight<double, 2>(const Conv2dGeometry&,
                                                                                 const double*);
template void winograd_forward_cpu<double, 2>(const Conv2dGeometry&, const double*,
                                              const std::vector<PackedColumns<double>>&,
                                              const ConvEpilogue<double>&, double*,
                                              const ChannelMoments<double>&);
template void winograd_backward_input_cpu<double, 2>(const Conv2dGeometry&, const double*, const double*,
                                                     double*);
template void winograd_backward_weight_cpu<double, 2>(const Conv2dGeometry&, const double*, const double*,
                                                      double*);
template std::vector<PackedColumns<double>> winograd_transform_weight<double, 4>(const Conv2dGeometry&,
                                                                                 const double*);
template void winograd_forward_cpu<double, 4>(const Conv2dGeometry&, const double*,
                                              const std::vector<PackedColumns<double>>&,
                                              const ConvEpilogue<double>&, double*,
                                              const ChannelMoments<double>&);
template void winograd_backward_input_cpu<double, 4>(const Conv2dGeometry&, const double*, const double*,
                                                     double*);
template void winograd_backward_weight_cpu<double, 4>(const Conv2dGeometry&, const double*, const double*,
                                                      double*);

}  // namespace taper::ops
