// From 8-bit images to normalised floats: the definition, pixel by pixel, on both devices.

#include "taper/ops/image/normalize_images.h"

#include "taper/core/views.h"
#include "taper/ops/copy/create.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

using namespace taper;

namespace {

Tensor some_pixels(const Shape& shape) {
  std::vector<uint8_t> values(size_t(numel(shape)));
  for (size_t i = 0; i < values.size(); ++i) values[i] = uint8_t(i * 89 + i / 256 * 31);
  return from_vector(values, shape);
}

/// The definition in normalize_images.h, on the CPU, row-major.
std::vector<double> expected(const Tensor& pixels, const ops::NormalizeImagesOptions& options,
                             const std::vector<int>& corners, const std::vector<bool>& mirrored) {
  const int64_t count = pixels.size(0), h = pixels.size(1), w = pixels.size(2), channels = pixels.size(3);
  const int64_t height = options.height ? options.height : h, width = options.width ? options.width : w;
  const auto at = ops::to_vector<int64_t>(pixels);
  std::vector<double> y;
  for (int64_t n = 0; n < count; ++n) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t p = 0; p < height; ++p) {
        for (int64_t q = 0; q < width; ++q) {
          const int64_t row = p + (corners.empty() ? 0 : corners[size_t(2 * n)]);
          const int64_t column = (mirrored.empty() || !mirrored[size_t(n)] ? q : width - 1 - q) +
                                 (corners.empty() ? 0 : corners[size_t(2 * n + 1)]);
          const bool inside = row >= 0 && row < h && column >= 0 && column < w;
          const auto value = float(inside ? at[size_t(((n * h + row) * w + column) * channels + c)] : 0);
          y.push_back(double((value / 255.0f - options.mean[size_t(c)]) / options.std[size_t(c)]));
        }
      }
    }
  }
  return y;
}

}  // namespace

TEST_CASE("images become normalised floats: crops, mirrors, layouts and dtypes") {
  const Device device = GENERATE(from_range(test_devices()));
  const PoisonedMemory poisoned;
  for (const int64_t channels : {1, 3}) {
    const Tensor pixels = some_pixels({3, 9, 12, channels}), there = ops::to_device(pixels, device);
    const std::vector<int> corners = {0, 0, 2, -3, -1, 5};
    const std::vector<bool> mirrored = {true, false, true};
    const Tensor corners_there = ops::to_device(from_vector<int32_t>({0, 0, 2, -3, -1, 5}, {3, 2}), device);
    const Tensor mirrored_there = ops::to_device(from_vector<bool>({true, false, true}), device);
    for (const auto& [height, width] : std::vector<std::pair<int, int>>{{0, 0}, {6, 8}, {5, 7}, {10, 16}}) {
      for (const DType dtype : {kFloat32, kFloat16, kBFloat16, kFloat64}) {
        for (const MemoryFormat format : {kContiguous, kChannelsLast}) {
          ops::NormalizeImagesOptions options = {
              .height = height, .width = width, .dtype = dtype, .memory_format = format};
          options.mean.resize(size_t(channels));
          options.std.resize(size_t(channels));
          INFO(device.str() << " " << channels << " " << height << " " << name(dtype) << " " << int(format));
          const auto rounded = [&](const std::vector<double>& values) {
            return ops::to_vector<double>(ops::cast(from_vector(values), dtype));
          };
          const Tensor y = ops::normalize_images(there, options, corners_there, mirrored_there);
          CHECK(y.dtype() == dtype);
          CHECK(y.is_contiguous(format));
          CHECK(ops::to_vector<double>(y) == rounded(expected(pixels, options, corners, mirrored)));
          const Tensor plain = ops::normalize_images(there, options);
          CHECK(ops::to_vector<double>(plain) == rounded(expected(pixels, options, {}, {})));
        }
      }
    }
  }
}

TEST_CASE("views of images, and none at all") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor pixels = some_pixels({2, 6, 10, 3}), there = ops::to_device(pixels, device);
  const Tensor part = views::slice(pixels, 2, 1, 10, 3);
  CHECK(ops::to_vector<double>(ops::normalize_images(views::slice(there, 2, 1, 10, 3))) ==
        expected(ops::contiguous(part), {}, {}, {}));
  CHECK(ops::normalize_images(views::narrow(there, 0, 0, 0)).shape() == Shape{0, 3, 6, 10});
}

TEST_CASE("normalize_images refuses what are no images") {
  const Tensor pixels = some_pixels({2, 4, 4, 3});
  using Catch::Contains;
  CHECK_THROWS_WITH(ops::normalize_images(ops::ones({2, 4, 4, 3})), Contains("needs u8 images"));
  CHECK_THROWS_WITH(ops::normalize_images(some_pixels({2, 3, 4, 4})), Contains("[2, 3, 4, 4]"));
  CHECK_THROWS_WITH(ops::normalize_images(pixels, {.mean = {0}}), Contains("1 means"));
  CHECK_THROWS_WITH(ops::normalize_images(pixels, {.dtype = kInt64}), Contains("floating point, got i64"));
  CHECK_THROWS_WITH(ops::normalize_images(pixels, {.height = -1}), Contains("-1 x 0"));
  CHECK_THROWS_WITH(ops::normalize_images(pixels, {}, ops::ones({2, 2})), Contains("corners must be i32"));
  CHECK_THROWS_WITH(ops::normalize_images(pixels, {}, {}, ops::ones({2})), Contains("mirrored must be bool"));
  CHECK_THROWS_WITH(ops::normalize_images(pixels, {}, {}, ops::ones({2}, {.device = Device("cuda")})),
                    Contains("tensors are on"));
}
