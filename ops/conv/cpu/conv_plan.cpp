#include "taper/ops/conv/cpu/conv_plan.h"

namespace taper::ops {
namespace {

/// One axis of the image.
struct Axis {
  int64_t source_size, destination_size, kernel, stride, padding, dilation;
  bool backward;  ///< from output pixels to input pixels
};

/// A kernel tap along one axis, and the source position that it sees from a run's first destination position.
struct AxisTap {
  int64_t tap, source;
};

/// Destination positions begin, begin + step, ... that see the same taps.
struct AxisRun {
  int64_t begin, step, count, source_step;
  std::vector<AxisTap> taps;
};

/// Returns what destination position `position` sees, with taps that see padding if `with_padding`.
std::vector<AxisTap> taps_seen(const Axis& axis, int64_t position, bool with_padding) {
  std::vector<AxisTap> taps;
  for (int64_t tap = 0; tap < axis.kernel; ++tap) {
    int64_t source = position * axis.stride - axis.padding + tap * axis.dilation;
    if (axis.backward) {
      const int64_t numerator = position + axis.padding - tap * axis.dilation;
      if (numerator % axis.stride != 0) continue;
      source = numerator / axis.stride;
    }
    if (with_padding || (source >= 0 && source < axis.source_size)) taps.push_back({tap, source});
  }
  return taps;
}

bool same_taps(const std::vector<AxisTap>& a, const std::vector<AxisTap>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].tap != b[i].tap) return false;
  }
  return true;
}

std::vector<AxisRun> runs_of(const Axis& axis, bool with_padding) {
  const int64_t step = axis.backward ? axis.stride : 1;
  std::vector<AxisRun> runs;
  for (int64_t phase = 0; phase < step; ++phase) {
    bool open = false;
    for (int64_t position = phase; position < axis.destination_size; position += step) {
      std::vector<AxisTap> taps = taps_seen(axis, position, with_padding);
      if (open && same_taps(runs.back().taps, taps)) {
        ++runs.back().count;
      } else {
        runs.push_back({position, step, 1, axis.backward ? 1 : axis.stride, std::move(taps)});
        open = true;
      }
    }
  }
  return runs;
}

/// Pixels of each tap's product, plus `tap_cost`.
int64_t cost_of(const std::vector<AxisRun>& vertical, const std::vector<AxisRun>& horizontal, int64_t images,
                int64_t tap_cost) {
  int64_t cost = 0;
  for (const AxisRun& v : vertical) {
    for (const AxisRun& h : horizontal) {
      cost += int64_t(v.taps.size() * h.taps.size()) * (images * v.count * h.count + tap_cost);
    }
  }
  return cost;
}

bool stays_inside(const AxisRun& run, int64_t first, int64_t last, int64_t source_size) {
  return first >= 0 && last + (run.count - 1) * run.source_step < source_size;
}

/// `join_taps`: neighbouring taps along the width see neighbouring pixels in memory.
ConvPlan make_plan(const ImageBatch& source, const ImageBatch& destination, const Axis& vertical_axis,
                   const Axis& horizontal_axis, bool join_taps, int64_t tap_cost) {
  std::vector<AxisRun> vertical = runs_of(vertical_axis, false), horizontal = runs_of(horizontal_axis, false);
  std::vector<AxisRun> padded_vertical = runs_of(vertical_axis, true);
  std::vector<AxisRun> padded_horizontal = runs_of(horizontal_axis, true);
  if (cost_of(padded_vertical, padded_horizontal, source.n, tap_cost) <
      cost_of(vertical, horizontal, source.n, tap_cost)) {
    vertical = std::move(padded_vertical);
    horizontal = std::move(padded_horizontal);
  }

  ConvPlan plan{source, destination, {}};
  const int64_t row = destination.width * destination.channels;
  for (const AxisRun& v : vertical) {
    for (const AxisRun& h : horizontal) {
      Region region;
      region.destination = {v.begin * row + h.begin * destination.channels,
                            {destination.n, v.count, h.count},
                            {destination.height * row, v.step * row, h.step * destination.channels}};
      region.source_steps = {v.source_step, h.source_step};
      for (const AxisTap& tap_y : v.taps) {
        for (size_t i = 0; i < h.taps.size();) {
          const AxisTap& first = h.taps[i];
          const int64_t length = join_taps ? int64_t(h.taps.size()) : 1;
          const bool inside = stays_inside(v, tap_y.source, tap_y.source, source.height) &&
                              stays_inside(h, first.source, first.source + length - 1, source.width);
          region.strips.push_back(
              {tap_y.tap * horizontal_axis.kernel + first.tap, length, tap_y.source, first.source, inside});
          i += size_t(length);
        }
      }
      plan.regions.push_back(std::move(region));
    }
  }
  return plan;
}

Axis vertical_axis(const Conv2dGeometry& conv, bool backward) {
  const Conv2dOptions& o = conv.options;
  return {backward ? conv.p : conv.h,
          backward ? conv.h : conv.p,
          conv.r,
          o.stride.h,
          o.padding.h,
          o.dilation.h,
          backward};
}

Axis horizontal_axis(const Conv2dGeometry& conv, bool backward) {
  const Conv2dOptions& o = conv.options;
  return {backward ? conv.q : conv.w,
          backward ? conv.w : conv.q,
          conv.s,
          o.stride.w,
          o.padding.w,
          o.dilation.w,
          backward};
}

}  // namespace

int64_t PixelGrid::offset_of(int64_t pixel) const {
  const int64_t x = pixel % counts[2], y = pixel / counts[2] % counts[1], n = pixel / counts[2] / counts[1];
  return offset + n * strides[0] + y * strides[1] + x * strides[2];
}

std::optional<int64_t> PixelGrid::uniform_stride() const {
  int64_t inner_count = 1, inner_stride = 0;
  for (int axis = 2; axis >= 0; --axis) {
    if (counts[size_t(axis)] == 1) continue;
    if (inner_count == 1) {
      inner_stride = strides[size_t(axis)];
    } else if (strides[size_t(axis)] != inner_stride * inner_count) {
      return std::nullopt;
    }
    inner_count *= counts[size_t(axis)];
  }
  return inner_count == 1 ? strides[0] : inner_stride;
}

int64_t Region::taps() const {
  int64_t taps = 0;
  for (const Strip& strip : strips) taps += strip.length;
  return taps;
}

PixelGrid ConvPlan::source_grid(const Region& region, const Strip& strip) const {
  const int64_t row = source.width * source.channels;
  return {strip.y * row + strip.x * source.channels,
          region.destination.counts,
          {source.height * row, region.source_steps[0] * row, region.source_steps[1] * source.channels}};
}

ConvPlan plan_forward(const Conv2dGeometry& conv, int64_t tap_cost) {
  const bool join_taps = conv.options.dilation.w == 1 && conv.options.groups == 1;
  return make_plan({conv.n, conv.h, conv.w, conv.c}, {conv.n, conv.p, conv.q, conv.k},
                   vertical_axis(conv, false), horizontal_axis(conv, false), join_taps, tap_cost);
}

ConvPlan plan_backward_input(const Conv2dGeometry& conv, int64_t tap_cost) {
  return make_plan({conv.n, conv.p, conv.q, conv.k}, {conv.n, conv.h, conv.w, conv.c},
                   vertical_axis(conv, true), horizontal_axis(conv, true), false, tap_cost);
}

}  // namespace taper::ops
