// normalize_images() on the CPU: pixels are looked up in a table of each channel's 256 values.

#include <algorithm>
#include <array>

#include "taper/core/base/parallel.h"
#include "taper/ops/compute_type.h"
#include "taper/ops/image/normalize_images_backend.h"

namespace taper::ops {
namespace {

/// The value of each 8-bit value of each channel, computed in f32.
template <class T, int kChannels>
using Table = std::array<std::array<T, 256>, kChannels>;

template <class T, int kChannels>
Table<T, kChannels> make_table(const NormalizeImagesArgs& args) {
  Table<T, kChannels> table;
  for (size_t c = 0; c < kChannels; ++c) {
    for (size_t v = 0; v < 256; ++v) table[c][v] = T((float(v) / 255.0f - args.mean[c]) / args.std[c]);
  }
  return table;
}

/// A row of the result: `count` pixels, `pixel_step` apart in the source and `stride_q` in y.
template <class T, int kChannels>
void normalize_row(const Table<T, kChannels>& table, const uint8_t* pixel, int64_t pixel_step, int64_t count,
                   T* y, int64_t stride_q, int64_t stride_c) {
  if (pixel_step == kChannels && stride_q == kChannels && stride_c == 1) {  // for the vectoriser
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t c = 0; c < kChannels; ++c)
        y[i * kChannels + c] = table[size_t(c)][pixel[i * kChannels + c]];
    }
    return;
  }
  for (; count > 0; --count, pixel += pixel_step, y += stride_q) {
    for (int64_t c = 0; c < kChannels; ++c) y[c * stride_c] = table[size_t(c)][pixel[c]];
  }
}

template <class T, int kChannels>
void normalize(const NormalizeImagesArgs& args) {
  const Table<T, kChannels> table = make_table<T, kChannels>(args);
  const Tensor& y = args.y;
  const int64_t height = y.size(2), width = y.size(3);
  const int64_t stride_n = y.strides()[0], stride_c = y.strides()[1], stride_p = y.strides()[2],
                stride_q = y.strides()[3];
  const int64_t source_height = args.pixels.size(1), source_width = args.pixels.size(2);
  const auto* pixels = args.pixels.data<uint8_t>();
  const auto* corners = args.corners.defined() ? args.corners.data<int32_t>() : nullptr;
  const auto* mirrored = args.mirrored.defined() ? args.mirrored.data<bool>() : nullptr;
  const int64_t grain = std::max<int64_t>(1, 16384 / (width * kChannels));
  parallel_for(y.size(0) * height, grain, [&](int64_t begin, int64_t end) {
    constexpr uint8_t kOutside[kChannels] = {};
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / height, p = row % height;
      const int64_t source_row = p + (corners ? corners[2 * n] : 0), left = corners ? corners[2 * n + 1] : 0;
      const bool flip = mirrored && mirrored[n];
      const auto fill = [&](int64_t from, int64_t to, const uint8_t* pixel, int64_t pixel_step) {
        T* out = y.data<T>() + n * stride_n + p * stride_p + from * stride_q;
        normalize_row<T, kChannels>(table, pixel, pixel_step, to - from, out, stride_q, stride_c);
      };
      // Columns [first, last) of the result see a pixel inside the source.
      const bool row_inside = source_row >= 0 && source_row < source_height;
      const int64_t before = std::clamp<int64_t>(-left, 0, width);
      const int64_t after = std::clamp<int64_t>(left + width - source_width, 0, width - before);
      const int64_t first = !row_inside ? width : flip ? after : before;
      const int64_t last = !row_inside ? width : width - (flip ? before : after);
      fill(0, first, kOutside, 0);
      if (first < last) {
        const int64_t column = left + (flip ? width - 1 - first : first);
        fill(first, last, pixels + ((n * source_height + source_row) * source_width + column) * kChannels,
             flip ? -kChannels : kChannels);
      }
      fill(last, width, kOutside, 0);
    }
  });
}

}  // namespace

void normalize_images_cpu(const NormalizeImagesArgs& args) {
  dispatch_float(args.y.dtype(), "normalize_images",
                 [&]<class T>() { args.y.size(1) == 1 ? normalize<T, 1>(args) : normalize<T, 3>(args); });
}

}  // namespace taper::ops
