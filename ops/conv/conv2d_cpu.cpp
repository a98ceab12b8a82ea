#include "taper/ops/conv/conv2d_cpu.h"

#include "taper/core/parallel.h"
#include "taper/ops/conv/depthwise_cpu.h"
#include "taper/ops/conv/source_columns.h"

namespace taper::ops {
namespace {

std::vector<Tile> cut_into_tiles(const ConvPlan& plan, int64_t groups) {
  std::vector<Tile> tiles;
  const int64_t source_channels = plan.source.channels / groups;
  const int64_t channels = plan.destination.channels / groups;
  for (const Region& region : plan.regions) {
    const int64_t pixels = region.destination.size(), depth = region.taps() * source_channels;
    GemmBlocks blocks = gemm_blocks(pixels, channels, depth);
    if (depth > 0) blocks.rows = std::min(blocks.rows, std::max(kCollectedElements / depth, kFewestPixels));
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t pixel = 0; pixel < pixels; pixel += blocks.rows) {
        for (int64_t channel = 0; channel < channels; channel += blocks.cols) {
          tiles.push_back({&region, group, pixel, std::min(blocks.rows, pixels - pixel), channel,
                           std::min(blocks.cols, channels - channel)});
        }
      }
    }
  }
  return tiles;
}

/// Computes destination pixels from source pixels: the forward pass and the gradient by the input.
/// weights(tile, columns) is the matrix that multiplies the columns.
template <class T, class Weights>
void convolve(const ConvPlan& plan, int64_t groups, bool join_columns, const T* source, const T* bias,
              T* destination, Weights&& weights) {
  const std::vector<Tile> tiles = cut_into_tiles(plan, groups);
  const int64_t source_channels = plan.source.channels / groups;
  const int64_t group_channels = plan.destination.channels / groups;
  parallel_chunks(int64_t(tiles.size()), [&](int64_t index) {
    const Tile& tile = tiles[size_t(index)];
    const Region& region = *tile.region;
    const int64_t channel = tile.group * group_channels + tile.first_channel;
    const SourceColumns<T> sources(plan, region, {source + tile.group * source_channels, source_channels},
                                   tile.first_pixel, tile.pixels, join_columns);

    // Results go straight to their pixels where these lie evenly, else by way of a small matrix.
    const auto stride = region.destination.uniform_stride();
    const Scratch<T> scratch(stride ? 0 : tile.pixels * tile.channels);
    Matrix<T> result{scratch.data(), tile.pixels, tile.channels, tile.channels};
    if (stride) {
      result.data = destination + region.destination.offset_of(tile.first_pixel) + channel;
      result.stride = *stride;
    }
    const auto row = [&](int64_t i) { return result.data + i * result.stride; };

    T beta = 0;
    if (bias != nullptr || sources.columns().empty()) {
      for (int64_t i = 0; i < tile.pixels; ++i) {
        if (bias != nullptr) {
          copy_channels(bias + channel, tile.channels, row(i));
        } else {
          std::fill(row(i), row(i) + tile.channels, T(0));
        }
      }
      beta = 1;
    }
    for (const Columns<T>& columns : sources.columns()) {
      gemm_block<T>(columns.pixels, weights(tile, columns), beta, result);
      beta = 1;
    }
    if (stride) return;
    region.destination.for_each(tile.first_pixel, tile.pixels,
                                [&](int64_t i, int64_t offset, int64_t, int64_t) {
                                  copy_channels(row(i), tile.channels, destination + offset + channel);
                                });
  });
}

}  // namespace

template <class T>
void conv2d_cpu(const Conv2dGeometry& conv, const T* x, const T* weight, const T* bias, T* y) {
  if (is_depthwise(conv)) return depthwise_convolve_cpu(plan_forward(conv), conv.taps(), x, weight, bias, y);
  const int64_t group_c = conv.group_c(), filter = conv.taps() * group_c;
  // Weights of one output channel are contiguous: a column of the second factor. So the columns of
  // neighbouring taps can be multiplied together.
  convolve(plan_forward(conv), conv.options.groups, true, x, bias, y,
           [&](const Tile& tile, const Columns<T>& columns) {
             const int64_t k = tile.group * conv.group_k() + tile.first_channel;
             return Matrix<const T>{weight + k * filter + columns.first_tap * group_c, columns.pixels.cols,
                                    tile.channels, filter, true};
           });
}

template <class T>
void conv2d_backward_input_cpu(const Conv2dGeometry& conv, const T* grad, const T* weight, T* grad_x) {
  if (is_depthwise(conv)) {
    return depthwise_convolve_cpu<T>(plan_backward_input(conv), conv.taps(), grad, weight, nullptr, grad_x);
  }
  const int64_t group_c = conv.group_c(), filter = conv.taps() * group_c;
  convolve<T>(plan_backward_input(conv), conv.options.groups, false, grad, nullptr, grad_x,
              [&](const Tile& tile, const Columns<T>& columns) {
                const T* first = weight + tile.group * conv.group_k() * filter + columns.first_tap * group_c;
                return Matrix<const T>{first + tile.first_channel, conv.group_k(), tile.channels, filter};
              });
}

template void conv2d_cpu(const Conv2dGeometry&, const float*, const float*, const float*, float*);
template void conv2d_cpu(const Conv2dGeometry&, const double*, const double*, const double*, double*);
template void conv2d_backward_input_cpu(const Conv2dGeometry&, const float*, const float*, float*);
template void conv2d_backward_input_cpu(const Conv2dGeometry&, const double*, const double*, double*);

}  // namespace taper::ops
