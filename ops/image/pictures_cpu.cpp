#include <algorithm>
#include <array>

#include "taper/core/base/parallel.h"
#include "taper/ops/image/pictures_backend.h"

namespace taper::ops {

void normalize_pictures_cpu(const PictureArgs& args) {
  const Tensor& y = args.y;
  const int64_t channels = y.size(1), height = y.size(2), width = y.size(3);
  const int64_t source_height = args.pixels.size(1), source_width = args.pixels.size(2);
  // The f32 value of each 8-bit value of each channel.
  std::vector<std::array<float, 256>> table{size_t(channels)};
  for (size_t c = 0; c < table.size(); ++c) {
    for (int v = 0; v < 256; ++v) table[c][size_t(v)] = (float(v) / 255.0f - args.mean[c]) / args.std[c];
  }
  const auto* pixels = args.pixels.data<uint8_t>();
  const auto* corners = args.corners.defined() ? args.corners.data<int32_t>() : nullptr;
  const auto* mirrored = args.mirrored.defined() ? args.mirrored.data<bool>() : nullptr;
  const int64_t grain = std::max<int64_t>(1, 16384 / (width * channels));
  parallel_for(y.size(0) * height, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / height, p = row % height;
      const int64_t top = corners ? corners[2 * n] : 0, left = corners ? corners[2 * n + 1] : 0;
      const int64_t source_row = top + p;
      const bool row_inside = source_row >= 0 && source_row < source_height;
      const uint8_t* source = pixels + (n * source_height + source_row) * source_width * channels;
      float* out = y.data<float>() + n * y.strides()[0] + p * y.strides()[2];
      for (int64_t q = 0; q < width; ++q) {
        const int64_t column = left + (mirrored && mirrored[n] ? width - 1 - q : q);
        const bool inside = row_inside && column >= 0 && column < source_width;
        for (int64_t c = 0; c < channels; ++c) {
          const uint8_t value = inside ? source[column * channels + c] : uint8_t(0);
          out[q * y.strides()[3] + c * y.strides()[1]] = table[size_t(c)][value];
        }
      }
    }
  });
}

}  // namespace taper::ops
