#pragma once
// Counts and sizes rounded up, on the CPU and in kernels.

#include "taper/core/base/host_device.h"

namespace taper {

/// Returns a / b rounded up, in the type of a + b. a > -b, b > 0.
template <class A, class B>
TAPER_HOST_DEVICE constexpr auto ceil_div(A a, B b) {
  return (a + b - 1) / b;
}

/// Returns the smallest multiple of `multiple` that is not below `value`. value > -multiple, multiple > 0.
template <class A, class B>
TAPER_HOST_DEVICE constexpr auto round_up(A value, B multiple) {
  return ceil_div(value, multiple) * multiple;
}

}  // namespace taper
