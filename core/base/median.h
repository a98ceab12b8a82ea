#pragma once
// The median of measurements.

#include <algorithm>
#include <cstddef>
#include <vector>

namespace taper {

/// Returns the median of at least one value; of an even number, the upper of the two in the middle.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + ptrdiff_t(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace taper
