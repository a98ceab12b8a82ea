#pragma once
// Pictures of scaling: curves and timelines, as SVG and as text.

#include <string>
#include <vector>

#include "bench/scaling/timeline.h"

namespace taper::scaling {

struct Curve {
  std::string label;
  std::vector<int64_t> gpus;
  std::vector<double> efficiency;
};

/// Returns an SVG of efficiency over the number of GPUs, which must be the same for all curves; at most eight curves
/// get colours of their own.
std::string draw_curves(const std::string& title, const std::vector<Curve>& curves);

/// Returns an SVG: computation above, buckets below.
std::string draw_timeline(const std::string& title, const Timeline& timeline);

/// Returns the timeline as lines of text, `width` characters for the whole step. A bucket that is shorter than a
/// character gets one.
std::string print_timeline(const Timeline& timeline, int width = 100);

}  // namespace taper::scaling
