#pragma once
// The distance of a number from its expected value: what comparing results means on both devices.

#include <cmath>

#include "taper/core/base/host_device.h"

namespace taper::detail {

/// Returns the error relative to |expected| + `magnitude`, the root mean square of all expected values.
/// Infinite where one of the two is NaN; 0 where both are, and where they are equal.
TAPER_HOST_DEVICE inline double relative_error(double actual, double expected, double magnitude) {
  const bool both_nan = actual != actual && expected != expected;
  if (actual == expected || both_nan) return 0;
  const double error = fabs(actual - expected) / (fabs(expected) + magnitude);
  return error != error ? double(INFINITY) : error;
}

}  // namespace taper::detail
