#include "taper/ops/conv/cpu/depthwise.h"

#include <algorithm>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"
#include "taper/ops/conv/cpu/conv_plan.h"

namespace taper::ops {
namespace {

/// Destination elements that a thread covers once per tap: half the first-level cache in f32.
constexpr int64_t kBlockElements = 4096;

/// Calls visit(source offset, destination offset) for each pixel in [first, first + count) of the region that
/// sees a source pixel through the strip's tap.
template <class Visit>
void for_each_pair(const ConvPlan& plan, const Region& region, const Strip& strip, int64_t first,
                   const std::vector<int64_t>& destinations, Visit&& visit) {
  plan.source_grid(region, strip)
      .for_each(first, int64_t(destinations.size()), [&](int64_t i, int64_t offset, int64_t y, int64_t x) {
        if (!strip.inside) {
          const int64_t source_y = strip.y + y * region.source_steps[0];
          const int64_t source_x = strip.x + x * region.source_steps[1];
          if (source_y < 0 || source_y >= plan.source.height || source_x < 0 || source_x >= plan.source.width)
            return;
        }
        visit(offset, destinations[size_t(i)]);
      });
}

std::vector<int64_t> destinations_of(const Region& region, int64_t begin, int64_t end) {
  std::vector<int64_t> offsets(static_cast<size_t>(end - begin));
  region.destination.for_each(
      begin, end - begin, [&](int64_t i, int64_t offset, int64_t, int64_t) { offsets[size_t(i)] = offset; });
  return offsets;
}

/// Transposes [channels, taps] to [taps, channels], or back.
template <class T>
std::vector<T> transposed(const T* matrix, int64_t rows, int64_t cols) {
  std::vector<T> result(size_t(rows * cols));
  for (int64_t i = 0; i < rows * cols; ++i) result[size_t(i % cols * rows + i / cols)] = matrix[i];
  return result;
}

/// The initial sums of the pixel at `offset`.
template <class T>
void start_pixel(const ConvEpilogue<T>& epilogue, int64_t channels, int64_t offset, T* sums) {
  if (epilogue.bias) {
    std::copy(epilogue.bias, epilogue.bias + channels, sums);
  } else {
    std::fill(sums, sums + channels, T(0));
  }
  if (!epilogue.residual) return;
  for (int64_t c = 0; c < channels; ++c) sums[c] += epilogue.residual[offset + c];
}

/// The forward pass with plan_forward(); the gradient with respect to the input with plan_backward_input().
/// weight: [channels, taps].
template <class T>
void convolve(const ConvPlan& plan, int64_t taps, const T* source, const T* weight,
              const ConvEpilogue<T>& epilogue, T* destination) {
  const int64_t channels = plan.destination.channels;
  const std::vector<T> by_tap = transposed(weight, channels, taps);
  for (const Region& region : plan.regions) {
    parallel_for(region.destination.size(), std::max<int64_t>(1, kBlockElements / channels),
                 [&](int64_t begin, int64_t end) {
                   const std::vector<int64_t> destinations = destinations_of(region, begin, end);
                   for (const int64_t offset : destinations) {
                     start_pixel(epilogue, channels, offset, destination + offset);
                   }
                   for (const Strip& strip : region.strips) {
                     const T* __restrict factor = by_tap.data() + strip.tap * channels;
                     for_each_pair(plan, region, strip, begin, destinations, [&](int64_t from, int64_t to) {
                       const T* __restrict in = source + from;
                       T* __restrict out = destination + to;
                       for (int64_t c = 0; c < channels; ++c) out[c] += in[c] * factor[c];
                     });
                   }
                   if (!epilogue.relu) return;
                   for (const int64_t offset : destinations) {
                     T* __restrict out = destination + offset;
                     for (int64_t c = 0; c < channels; ++c) out[c] = out[c] < T(0) ? T(0) : out[c];
                   }
                 });
  }
}

}  // namespace

template <class T>
void depthwise_forward_cpu(const Conv2dGeometry& conv, const T* x, const T* weight,
                           const ConvEpilogue<T>& epilogue, T* y) {
  convolve(plan_forward(conv), conv.taps(), x, weight, epilogue, y);
}

template <class T>
void depthwise_backward_input_cpu(const Conv2dGeometry& conv, const T* grad, const T* weight, T* grad_x) {
  convolve<T>(plan_backward_input(conv), conv.taps(), grad, weight, {}, grad_x);
}

template <class T>
void depthwise_backward_weight_cpu(const Conv2dGeometry& conv, const T* grad, const T* x, T* grad_weight) {
  const ConvPlan plan = plan_forward(conv);
  const int64_t taps = conv.taps();
  // Each piece has a fixed number of pixels and partial sums of its own, which are added in order.
  const int64_t channels = plan.destination.channels, size = taps * channels;
  const int64_t block = std::max<int64_t>(1, kBlockElements / channels), blocks_per_part = 16;
  std::vector<T> total(size_t(size), T(0));
  for (const Region& region : plan.regions) {
    const int64_t pixels = region.destination.size(), part_pixels = block * blocks_per_part;
    std::vector<T> partial(size_t(ceil_div(pixels, part_pixels) * size), T(0));
    parallel_for(pixels, part_pixels, [&](int64_t part_begin, int64_t part_end) {
      T* sums = partial.data() + part_begin / part_pixels * size;
      for (int64_t begin = part_begin; begin < part_end; begin += block) {
        const std::vector<int64_t> destinations =
            destinations_of(region, begin, std::min(begin + block, part_end));
        for (const Strip& strip : region.strips) {
          T* __restrict sum = sums + strip.tap * channels;
          for_each_pair(plan, region, strip, begin, destinations, [&](int64_t from, int64_t to) {
            const T* __restrict in = x + from;
            const T* __restrict out = grad + to;
            for (int64_t c = 0; c < channels; ++c) sum[c] += in[c] * out[c];
          });
        }
      }
    });
    for (size_t i = 0; i < partial.size(); ++i) total[i % size_t(size)] += partial[i];
  }
  const std::vector<T> by_channel = transposed(total.data(), taps, channels);
  std::copy(by_channel.begin(), by_channel.end(), grad_weight);
}

template void depthwise_forward_cpu(const Conv2dGeometry&, const float*, const float*,
                                    const ConvEpilogue<float>&, float*);
template void depthwise_forward_cpu(const Conv2dGeometry&, const double*, const double*,
                                    const ConvEpilogue<double>&, double*);
template void depthwise_backward_input_cpu(const Conv2dGeometry&, const float*, const float*, float*);
template void depthwise_backward_input_cpu(const Conv2dGeometry&, const double*, const double*, double*);
template void depthwise_backward_weight_cpu(const Conv2dGeometry&, const float*, const float*, float*);
template void depthwise_backward_weight_cpu(const Conv2dGeometry&, const double*, const double*, double*);

}  // namespace taper::ops
