#pragma once
// One convolution of a test's table.

#include <string>

#include "taper/ops/conv/conv2d.h"
#include "taper/ops/vendor/engine_library.h"
#include "tests/support/tolerance.h"

namespace taper {

struct ConvCase {
  std::string name;
  Shape input;
  int64_t output_channels;
  IntPair kernel;
  Conv2dOptions options;

  Shape weight() const { return {output_channels, input[1] / options.groups, kernel.h, kernel.w}; }
};

/// The rounding errors of Winograd's convolution with tiles of 2x2 and of 4x4 outputs may be this many times
/// those of direct sums, as conv_candidates_test.cpp measures.
inline constexpr double kWinograd2x2Errors = 4, kWinograd4x4Errors = 15;

/// That factor for a convolution in `dtype` by a vendor's library, which chooses the algorithm. It has
/// Winograd's for f32 and f16 and does not say which of its engines use it.
inline double library_errors(DType dtype) {
  return dtype == kFloat32 || dtype == kFloat16 ? kWinograd4x4Errors : 1;
}

/// The relative error allowed for the sums of a convolution by whatever algorithm the cache chooses. Half
/// types run on tensor cores, which add directly.
inline double conv_tolerance(Device device, DType dtype, int64_t reduction_length) {
  const bool may_be_winograd =
      device.is_cuda() && dtype == kFloat32 && ops::engine_library(ops::VendorLibrary::kCudnn) != nullptr;
  return (may_be_winograd ? kWinograd4x4Errors : 1) * tolerance(dtype, reduction_length);
}

}  // namespace taper
