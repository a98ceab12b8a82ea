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

/// How many times as large as those of direct sums the rounding errors of Winograd's convolution may be: with
/// tiles of 2x2 and of 4x4 outputs, as conv_candidates_test.cpp measures.
inline constexpr double kWinograd2x2Errors = 4, kWinograd4x4Errors = 15;

/// That factor for a convolution in `dtype` whose algorithm is a vendor's library's to choose. It has
/// Winograd's for f32 and f16 and does not say which of its engines they are.
inline double library_errors(DType dtype) {
  return dtype == kFloat32 || dtype == kFloat16 ? kWinograd4x4Errors : 1;
}

/// Relative error allowed for the sums of a convolution that the algorithm cache has chosen a way for. For
/// half types that is tensor cores', which add directly.
inline double conv_tolerance(Device device, DType dtype, int64_t reduction_length) {
  const bool may_be_winograd =
      device.is_cuda() && dtype == kFloat32 && ops::engine_library(ops::VendorLibrary::kCudnn) != nullptr;
  return (may_be_winograd ? kWinograd4x4Errors : 1) * tolerance(dtype, reduction_length);
}

}  // namespace taper
