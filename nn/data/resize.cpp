#include "taper/nn/data/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "taper/core/error.h"

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
};

// The triangle filter, as wide as two input pixels, or two output pixels if those are larger. The order of
// the double operations is PIL's (libImaging/Resample.c), since a different rounding could move a pixel by
// one.
Filter triangle_filter(int input, int output) {
  const double scale = double(input) / output;
  const double support = std::max(scale, 1.0);
  const double inverse_support = 1.0 / support;

  Filter filter;
  filter.taps = int(std::ceil(support)) * 2 + 1;
  filter.first.resize(size_t(output));
  filter.count.resize(size_t(output));
  filter.weights.resize(size_t(output) * filter.taps);
  std::vector<double> exact(size_t(filter.taps));
  for (int i = 0; i < output; ++i) {
    const double center = (i + 0.5) * scale;
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

// One row of the horizontal pass: `in` at the left edge of the box, `out` of filter.first.size() pixels.
void resize_row(const Filter& filter, const uint8_t* in, uint8_t* out) {
  const int width = int(filter.first.size());
  for (int x = 0; x < width; ++x, out += 3) {
    const int32_t* weight = &filter.weights[size_t(x) * filter.taps];
    const uint8_t* pixel = in + size_t(filter.first[x]) * 3;
    int32_t red = kHalf, green = kHalf, blue = kHalf;
    for (int k = 0; k < filter.count[x]; ++k, pixel += 3) {
      red += pixel[0] * weight[k];
      green += pixel[1] * weight[k];
      blue += pixel[2] * weight[k];
    }
    out[0] = to_pixel(red);
    out[1] = to_pixel(green);
    out[2] = to_pixel(blue);
  }
}

// One row of the vertical pass, as a weighted sum of rows that are `stride` bytes apart.
void resize_column(const int32_t* weight, int count, const uint8_t* in, size_t stride, int bytes,
                   int32_t* sums, uint8_t* out) {
  std::fill_n(sums, bytes, kHalf);
  for (int k = 0; k < count; ++k, in += stride)
    for (int i = 0; i < bytes; ++i) sums[i] += in[i] * weight[k];
  for (int i = 0; i < bytes; ++i) out[i] = to_pixel(sums[i]);
}

// torchvision rounds with Python's round(), which takes halves to the even number.
int round_half_even(double x) {
  return int(std::nearbyint(x));
}

}  // namespace

Image resize(const Image& image, const Box& box, int width, int height) {
  TAPER_CHECK(width > 0 && height > 0, "resize: size must be positive, got {} x {}", width, height);
  TAPER_CHECK(box.width > 0 && box.height > 0 && box.left >= 0 && box.top >= 0 &&
                  box.left <= image.width - box.width && box.top <= image.height - box.height,
              "resize: box of {} x {} at ({}, {}) is not inside a picture of {} x {}", box.width, box.height,
              box.left, box.top, image.width, image.height);
  if (box.width == width && box.height == height) return crop(image, box);

  // First the rows that the vertical pass will read, each to its new width; PIL rounds to 8 bits in between.
  const Filter vertical = triangle_filter(box.height, height);
  const int first_row = vertical.first.front();
  const int row_count = vertical.first.back() + vertical.count.back() - first_row;
  Image narrow;
  const Image* source = &image;
  Box part{box.left, box.top + first_row, width, row_count};
  if (box.width != width) {
    const Filter horizontal = triangle_filter(box.width, width);
    narrow = Image(width, row_count);
    for (int y = 0; y < row_count; ++y)
      resize_row(horizontal, image.row(part.top + y) + size_t(box.left) * 3, narrow.row(y));
    source = &narrow;
    part.left = part.top = 0;
  }
  if (box.height == height) return narrow;

  Image result(width, height);
  std::vector<int32_t> sums(size_t(width) * 3);
  for (int y = 0; y < height; ++y) {
    const uint8_t* in = source->row(part.top + vertical.first[y] - first_row) + size_t(part.left) * 3;
    resize_column(&vertical.weights[size_t(y) * vertical.taps], vertical.count[y], in,
                  size_t(source->width) * 3, width * 3, sums.data(), result.row(y));
  }
  return result;
}

Image resize(const Image& image, int width, int height) {
  return resize(image, Box{0, 0, image.width, image.height}, width, height);
}

Image resize_shorter_side(const Image& image, int size) {
  TAPER_CHECK(size > 0, "resize_shorter_side: size must be positive, got {}", size);
  const auto longer = [size](int long_side, int short_side) {
    return int(double(int64_t(size) * long_side) / short_side);
  };
  if (image.width <= image.height) return resize(image, size, longer(image.height, image.width));
  return resize(image, longer(image.width, image.height), size);
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
  const auto start = [size](int side) {
    return side < size ? -((size - side) / 2) : round_half_even((side - size) / 2.0);
  };
  return crop(image, Box{start(image.width), start(image.height), size, size});
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
