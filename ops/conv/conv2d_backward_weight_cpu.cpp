#include "taper/core/parallel.h"
#include "taper/ops/conv/conv2d_cpu.h"
#include "taper/ops/conv/depthwise_cpu.h"
#include "taper/ops/conv/source_columns.h"

namespace taper::ops {
namespace {

/// The gradient by the weights sums over pixels. Tiles of pixels are dealt to a number of partial sums that
/// depends on the sizes alone; each partial sum is one thread's at a time, and they are added in order.
struct WeightWork {
  std::vector<Tile> tiles;         ///< one group's pixels; channels are set by the task
  std::vector<size_t> part_begin;  ///< the first tile of each partial sum, and the end
  int64_t channels_per_task = 0;

  int64_t parts() const { return int64_t(part_begin.size()) - 1; }
};

WeightWork cut_weight_work(const Conv2dGeometry& conv, const ConvPlan& plan) {
  constexpr int64_t kChannelsPerTask = 128, kTasks = 16, kFewestPixelsPerPart = 256, kMostPixels = 512;
  WeightWork work;
  int64_t total = 0;
  for (const Region& region : plan.regions) {
    const int64_t depth = std::max<int64_t>(region.taps() * conv.group_c(), 1),
                  pixels = region.destination.size();
    const int64_t step = std::clamp(kCollectedElements / depth, kFewestPixels, kMostPixels);
    for (int64_t pixel = 0; pixel < pixels; pixel += step) {
      work.tiles.push_back({&region, 0, pixel, std::min(step, pixels - pixel), 0, 0});
    }
    total += pixels;
  }
  work.channels_per_task = std::min(conv.group_k(), kChannelsPerTask);
  const int64_t tasks =
      (conv.group_k() + work.channels_per_task - 1) / work.channels_per_task * conv.options.groups;
  const int64_t parts =
      std::clamp<int64_t>(kTasks / tasks, 1, std::max<int64_t>(total / kFewestPixelsPerPart, 1));
  int64_t before = 0;
  if (total == 0) work.part_begin.push_back(0);
  for (size_t i = 0; i < work.tiles.size(); ++i) {
    if (before * parts >= int64_t(work.part_begin.size()) * total) work.part_begin.push_back(i);
    before += work.tiles[i].pixels;
  }
  work.part_begin.push_back(work.tiles.size());
  return work;
}

/// Adds one tile's share: for each tap, (gradient pixels)^T * (source pixels).
template <class T>
void add_weight_gradient(const Conv2dGeometry& conv, const ConvPlan& plan, const Tile& tile, const T* grad,
                         const T* x, T* grad_weight) {
  const Region& region = *tile.region;
  const int64_t group_c = conv.group_c(), filter = conv.taps() * group_c;
  const int64_t k = tile.group * conv.group_k() + tile.first_channel;
  const SourceColumns<T> sources(plan, region, {x + tile.group * group_c, group_c}, tile.first_pixel,
                                 tile.pixels, true);

  const auto stride = region.destination.uniform_stride();
  const Scratch<T> scratch(stride ? 0 : tile.pixels * tile.channels);
  Matrix<const T> gradient{scratch.data(), tile.pixels, tile.channels, tile.channels};
  if (stride) {
    gradient.data = grad + region.destination.offset_of(tile.first_pixel) + k;
    gradient.stride = *stride;
  } else {
    region.destination.for_each(
        tile.first_pixel, tile.pixels, [&](int64_t i, int64_t offset, int64_t, int64_t) {
          copy_channels(grad + offset + k, tile.channels, scratch.data() + i * tile.channels);
        });
  }
  for (const Columns<T>& columns : sources.columns()) {
    gemm_block<T>(
        gradient.t(), columns.pixels, 1,
        {grad_weight + k * filter + columns.first_tap * group_c, tile.channels, columns.pixels.cols, filter});
  }
}

}  // namespace

template <class T>
void conv2d_backward_weight_cpu(const Conv2dGeometry& conv, const T* grad, const T* x, T* grad_weight) {
  if (numel(conv.weight_shape()) == 0) return;
  const ConvPlan plan = plan_forward(conv);
  if (is_depthwise(conv)) return depthwise_backward_weight_cpu(plan, conv.taps(), grad, x, grad_weight);
  const WeightWork work = cut_weight_work(conv, plan);
  const int64_t filter = conv.taps() * conv.group_c(), size = conv.k * filter;
  const int64_t parts = work.parts();
  const Scratch<T> partial_sums((parts - 1) * size);
  const auto part_data = [&](int64_t part) {
    return part == 0 ? grad_weight : partial_sums.data() + (part - 1) * size;
  };

  const int64_t slices = (conv.group_k() + work.channels_per_task - 1) / work.channels_per_task;
  parallel_chunks(parts * conv.options.groups * slices, [&](int64_t task) {
    const int64_t part = task % parts, slice = task / parts % slices, group = task / parts / slices;
    const int64_t channel = slice * work.channels_per_task;
    const int64_t channels = std::min(work.channels_per_task, conv.group_k() - channel);
    T* sum = part_data(part);
    T* mine = sum + (group * conv.group_k() + channel) * filter;
    std::fill(mine, mine + channels * filter, T(0));
    for (size_t i = work.part_begin[size_t(part)]; i < work.part_begin[size_t(part) + 1]; ++i) {
      Tile tile = work.tiles[i];
      tile.group = group;
      tile.first_channel = channel;
      tile.channels = channels;
      add_weight_gradient(conv, plan, tile, grad, x, sum);
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

template void conv2d_backward_weight_cpu(const Conv2dGeometry&, const float*, const float*, float*);
template void conv2d_backward_weight_cpu(const Conv2dGeometry&, const double*, const double*, double*);

}  // namespace taper::ops
