#include "taper/nn/data/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "taper/core/base/error.h"

namespace taper {
namespace {

// Weights are fixed-point numbers with this many fractional bits: a sum of 8-bit pixels then fits 31 bits.
constexpr int kWeightBits = 22;
constexpr int32_t kHalf = 1 << (kWeightBits - 1);

// One axis of a resize: output i is the sum of weights[i * taps + k] * input[first[i] + k] over k < count[i].
struct Filter {
  int taps = 0;
  std::vector<int> first;
  std::vector<int> count;
  std::vector<int32_t> weights;

  const int32_t* weights_of(int i) const { return &weights[size_t(i) * taps]; }
};

// The triangle filter for `size` of the `output` pixels, starting at pixel `begin`. It is as wide as two
// input pixels, or two output pixels if those are larger. Its double operations have PIL's order
// (libImaging/Resample.c), since a different rounding could change a pixel by one.
Filter triangle_filter(int input, int64_t output, int64_t begin, int size) {
  const double scale = double(input) / double(output);
  const double support = std::max(scale, 1.0);
  const double inverse_support = 1.0 / support;

  Filter filter;
  filter.taps = int(std::ceil(support)) * 2 + 1;
  filter.first.resize(size_t(size));
  filter.count.resize(size_t(size));
  filter.weights.resize(size_t(size) * filter.taps);
  std::vector<double> exact(size_t(filter.taps));
  for (int i = 0; i < size; ++i) {
    const double center = (double(begin + i) + 0.5) * scale;
    const int first = std::max(int(center - support + 0.5), 0);
    const int count = std::min(int(center + support + 0.5), input) - first;
    double sum = 0;
    for (int k = 0; k < count; ++k) {
      const double distance = std::abs((k + first - center + 0.5) * inverse_support);
      exact[k] = distance < 1.0 ? 1.0 - distance : 0.0;
      sum += exact[k];
    }
    filter.first[i] = first;
    filter.count[i] = count;
    for (int k = 0; k < count; ++k)
      filter.weights[size_t(i) * filter.taps + k] = int32_t(exact[k] / sum * (1 << kWeightBits) + 0.5);
  }
  return filter;
}

uint8_t to_pixel(int32_t sum) {
  return uint8_t(std::clamp(sum >> kWeightBits, 0, 255));
}

// Four integers in one register (GCC's and Clang's vector extension).
using Int4 = int32_t __attribute__((vector_size(16)));

// One row of the horizontal pass, whose input bytes are already 32-bit. A pixel is read as four numbers. The
// fourth has no effect, so `in` has one number after its last pixel.
void resize_row(const Filter& filter, const int32_t* in, uint8_t* out) {
  const int width = int(filter.first.size());
  for (int x = 0; x < width; ++x, out += 3) {
    const int32_t* weight = filter.weights_of(x);
    const int32_t* pixel = in + size_t(filter.first[x]) * 3;
    Int4 sum = {kHalf, kHalf, kHalf, kHalf};
    for (int k = 0; k < filter.count[x]; ++k, pixel += 3) {
      Int4 colors;
      std::memcpy(&colors, pixel, sizeof colors);
      sum += colors * weight[k];
    }
    for (int c = 0; c < 3; ++c) out[c] = to_pixel(sum[c]);
  }
}

// One row of the vertical pass: a weighted sum of `count` rows of `bytes` bytes. `sums` is scratch space.
void resize_column(const int32_t* weight, int count, const uint8_t* in, int bytes, int32_t* sums,
                   uint8_t* out) {
  std::fill_n(sums, bytes, kHalf);
  for (int k = 0; k < count; ++k, in += bytes)
    for (int i = 0; i < bytes; ++i) sums[i] += in[i] * weight[k];
  for (int i = 0; i < bytes; ++i) out[i] = to_pixel(sums[i]);
}

// A part of a resized image, which may be too large to exist as a whole.
struct Window {
  int64_t left, top;
  int width, height;
};

// Returns the part `window` of the image that `box` of `image` becomes when scaled to [height, width].
Image resize_window(const Image& image, const Box& box, int64_t width, int64_t height, const Window& window) {
  const Filter horizontal = triangle_filter(box.width, width, window.left, window.width);
  const Filter vertical = triangle_filter(box.height, height, window.top, window.height);

  // First scales the rows that the vertical pass will read; PIL rounds to 8 bits in between.
  const int first_row = vertical.first.front();
  Image narrow(window.width, vertical.first.back() + vertical.count.back() - first_row);
  std::vector<int32_t> row(size_t(box.width) * 3 + 1);
  for (int y = 0; y < narrow.height; ++y) {
    std::copy_n(image.row(box.top + first_row + y) + size_t(box.left) * 3, row.size() - 1, row.begin());
    resize_row(horizontal, row.data(), narrow.row(y));
  }

  Image result(window.width, window.height);
  std::vector<int32_t> sums(size_t(window.width) * 3);
  for (int y = 0; y < window.height; ++y)
    resize_column(vertical.weights_of(y), vertical.count[y], narrow.row(vertical.first[y] - first_row),
                  window.width * 3, sums.data(), result.row(y));
  return result;
}

// torchvision rounds with Python's round(), which rounds halves to the even number. Negative: padding.
int64_t center_start(int64_t side, int size) {
  return side < size ? -((size - side) / 2) : int64_t(std::nearbyint(double(side - size) / 2.0));
}

// Returns the size of an image whose shorter side becomes `size`.
std::pair<int64_t, int64_t> shorter_side_size(const Image& image, int size) {
  const auto longer = [size](int long_side, int short_side) {
    return int64_t(double(int64_t(size) * long_side) / short_side);
  };
  if (image.width <= image.height) return {size, longer(image.height, image.width)};
  return {longer(image.width, image.height), size};
}

}  // namespace

Image resize(const Image& image, const Box& box, int width, int height) {
  TAPER_CHECK(width > 0 && height > 0, "resize: size must be positive, got {} x {}", width, height);
  TAPER_CHECK(box.width > 0 && box.height > 0 && box.left >= 0 && box.top >= 0 &&
                  box.left <= image.width - box.width && box.top <= image.height - box.height,
              "resize: box of {} x {} at ({}, {}) is not inside an image of {} x {}", box.width, box.height,
              box.left, box.top, image.width, image.height);
  if (box.width == width && box.height == height) return crop(image, box);
  return resize_window(image, box, width, height, {0, 0, width, height});
}

Image resize(const Image& image, int width, int height) {
  return resize(image, Box{0, 0, image.width, image.height}, width, height);
}

Image resize_shorter_side(const Image& image, int size) {
  TAPER_CHECK(size > 0, "resize_shorter_side: size must be positive, got {}", size);
  const auto [width, height] = shorter_side_size(image, size);
  TAPER_CHECK(width <= kMaxPixels / height, "resize_shorter_side: an image of {} x {} would become {} x {}",
              image.width, image.height, width, height);
  return resize(image, int(width), int(height));
}

Image resize_and_center_crop(const Image& image, int resize, int size) {
  TAPER_CHECK(resize > 0, "resize_and_center_crop: shorter side must be positive, got {}", resize);
  TAPER_CHECK(size > 0 && size <= resize, "resize_and_center_crop: {} pixels cannot be cut from a side of {}",
              size, resize);
  const auto [width, height] = shorter_side_size(image, resize);
  const Window window{center_start(width, size), center_start(height, size), size, size};
  if (width == image.width && height == image.height)
    return crop(image, {int(window.left), int(window.top), size, size});
  return resize_window(image, {0, 0, image.width, image.height}, width, height, window);
}

Image crop(const Image& image, const Box& box) {
  TAPER_CHECK(box.width > 0 && box.height > 0, "crop: size must be positive, got {} x {}", box.width,
              box.height);
  Image result(box.width, box.height);
  const int left = std::max(box.left, 0), right = std::min(box.left + box.width, image.width);
  const int top = std::max(box.top, 0), bottom = std::min(box.top + box.height, image.height);
  if (left >= right) return result;
  for (int y = top; y < bottom; ++y)
    std::memcpy(result.row(y - box.top) + size_t(left - box.left) * 3, image.row(y) + size_t(left) * 3,
                size_t(right - left) * 3);
  return result;
}

Image center_crop(const Image& image, int size) {
  TAPER_CHECK(size > 0, "center_crop: size must be positive, got {}", size);
  return crop(image,
              {int(center_start(image.width, size)), int(center_start(image.height, size)), size, size});
}

Image flip_horizontal(const Image& image) {
  Image result(image.width, image.height);
  for (int y = 0; y < image.height; ++y) {
    const uint8_t* in = image.row(y) + size_t(image.width) * 3;
    uint8_t* out = result.row(y);
    for (int x = 0; x < image.width; ++x, out += 3) {
      in -= 3;
      std::copy_n(in, 3, out);
    }
  }
  return result;
}

}  // namespace taper
