#pragma once
// The convolutions of ResNet-50, which the benchmarks of convolution measure.

#include <array>
#include <cstdint>

namespace taper {

struct ResnetLayer {
  const char* name;  ///< stage, kernel, stride, channels
  int64_t shrink;    ///< image size / input size of the layer
  int64_t in, out, kernel, stride;
  int count;  ///< how many of the 53 convolutions have this shape

  int64_t input_size(int64_t image_size) const { return image_size / shrink; }
  int64_t padding() const { return kernel / 2; }
  int64_t output_size(int64_t image_size) const { return (input_size(image_size) - 1) / stride + 1; }
};

inline constexpr std::array kResnet50Layers = {
    ResnetLayer{"conv1 7x7/2 3-64", 1, 3, 64, 7, 2, 1},
    ResnetLayer{"layer1 1x1 64-64", 4, 64, 64, 1, 1, 1},
    ResnetLayer{"layer1 3x3 64-64", 4, 64, 64, 3, 1, 3},
    ResnetLayer{"layer1 1x1 64-256", 4, 64, 256, 1, 1, 4},
    ResnetLayer{"layer1 1x1 256-64", 4, 256, 64, 1, 1, 2},
    ResnetLayer{"layer2 1x1 256-128", 4, 256, 128, 1, 1, 1},
    ResnetLayer{"layer2 3x3/2 128-128", 4, 128, 128, 3, 2, 1},
    ResnetLayer{"layer2 1x1/2 256-512", 4, 256, 512, 1, 2, 1},
    ResnetLayer{"layer2 3x3 128-128", 8, 128, 128, 3, 1, 3},
    ResnetLayer{"layer2 1x1 128-512", 8, 128, 512, 1, 1, 4},
    ResnetLayer{"layer2 1x1 512-128", 8, 512, 128, 1, 1, 3},
    ResnetLayer{"layer3 1x1 512-256", 8, 512, 256, 1, 1, 1},
    ResnetLayer{"layer3 3x3/2 256-256", 8, 256, 256, 3, 2, 1},
    ResnetLayer{"layer3 1x1/2 512-1024", 8, 512, 1024, 1, 2, 1},
    ResnetLayer{"layer3 3x3 256-256", 16, 256, 256, 3, 1, 5},
    ResnetLayer{"layer3 1x1 256-1024", 16, 256, 1024, 1, 1, 6},
    ResnetLayer{"layer3 1x1 1024-256", 16, 1024, 256, 1, 1, 5},
    ResnetLayer{"layer4 1x1 1024-512", 16, 1024, 512, 1, 1, 1},
    ResnetLayer{"layer4 3x3/2 512-512", 16, 512, 512, 3, 2, 1},
    ResnetLayer{"layer4 1x1/2 1024-2048", 16, 1024, 2048, 1, 2, 1},
    ResnetLayer{"layer4 3x3 512-512", 32, 512, 512, 3, 1, 2},
    ResnetLayer{"layer4 1x1 512-2048", 32, 512, 2048, 1, 1, 3},
    ResnetLayer{"layer4 1x1 2048-512", 32, 2048, 512, 1, 1, 2},
};

}  // namespace taper
