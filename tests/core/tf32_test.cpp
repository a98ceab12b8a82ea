// The settings that allow TF32, and where they count.

#include "taper/core/tf32.h"

#include "taper/ops/conv/conv2d_call.h"
#include "test_tensors.h"

#include <catch2/catch.hpp>

using namespace taper;

TEST_CASE("TF32 is off for products and on for convolutions at first, as in PyTorch", "[tf32]") {
  CHECK_FALSE(allow_tf32_matmul());
  CHECK(allow_tf32_conv());
  set_allow_tf32_matmul(true);
  set_allow_tf32_conv(false);
  CHECK(allow_tf32_matmul());
  CHECK_FALSE(allow_tf32_conv());
  set_allow_tf32_matmul(false);
  set_allow_tf32_conv(true);
}

TEST_CASE("whether TF32 is allowed is part of what a convolution of f32 on a GPU is", "[tf32]") {
  const auto problem = [](DType dtype, Device device) {
    const Tensor x = empty({1, 2, 3, 3}, {.dtype = dtype, .device = device, .memory_format = kChannelsLast});
    const Tensor weight = empty({4, 2, 1, 1}, {.dtype = dtype, .device = device});
    const auto sizes = ops::conv2d_geometry("test", x.shape(), weight.shape(), {});
    const Tensor y = empty({1, 4, 3, 3}, {.dtype = dtype, .device = device, .memory_format = kChannelsLast});
    return ops::Conv2dCall{.conv = sizes, .x = x, .weight = weight, .y = y}.problem().str();
  };
  const auto differs = [&](DType dtype, Device device) {
    const std::string allowed = problem(dtype, device);
    set_allow_tf32_conv(false);
    const std::string exact = problem(dtype, device);
    set_allow_tf32_conv(true);
    return allowed != exact;
  };
  CHECK_FALSE(differs(kFloat32, Device("cpu")));
  if (gpu::device_count() == 0) return;
  CHECK(differs(kFloat32, Device("cuda")));
  CHECK_FALSE(differs(kBFloat16, Device("cuda")));
}
