#include "taper/ops/conv/cpu/source_band.h"

namespace taper::ops {

PaddedSource::PaddedSource(const ConvPlan& plan, const Region& region) : plan_(plan), region_(region) {
  if (region.strips.empty()) return;
  const Strip& first = region.strips.front();
  int64_t y_end = first.y, x_end = first.x;
  y_ = first.y;
  x_ = first.x;
  for (const Strip& strip : region.strips) {
    y_ = std::min(y_, strip.y);
    x_ = std::min(x_, strip.x);
    y_end = std::max(y_end, strip.y + 1);
    x_end = std::max(x_end, strip.x + strip.length);
  }
  taps_wide_ = x_end - x_;
  height_ = region.destination.counts[1] + y_end - y_ - 1;
  width_ = region.destination.counts[2] + taps_wide_ - 1;
}

bool PaddedSource::fits() const {
  const auto [images, rows, columns] = region_.destination.counts;
  return !region_.strips.empty() && region_.source_steps == std::array<int64_t, 2>{1, 1} &&
         2 * columns >= width_;
}

bool PaddedSource::is_source() const {
  return y_ == 0 && x_ == 0 && height_ == plan_.source.height && width_ == plan_.source.width;
}

int64_t PaddedSource::position(int64_t pixel) const {
  const auto [images, rows, columns] = region_.destination.counts;
  const int64_t row = pixel / columns;
  return (row / rows * height_ + row % rows) * width_ + pixel % columns;
}

}  // namespace taper::ops
