#pragma once
// One convolution of a test's table.

#include <string>

#include "taper/ops/conv/conv2d.h"

namespace taper {

struct ConvCase {
  std::string name;
  Shape input;
  int64_t output_channels;
  IntPair kernel;
  Conv2dOptions options;

  Shape weight() const { return {output_channels, input[1] / options.groups, kernel.h, kernel.w}; }
};

}  // namespace taper
