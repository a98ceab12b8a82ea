#include "taper/nn/data/augment.h"

#include <cmath>

namespace taper {
namespace {

constexpr double kMinArea = 0.08, kMaxArea = 1.0;
constexpr double kMinRatio = 3.0 / 4.0, kMaxRatio = 4.0 / 3.0;
constexpr double kMinErased = 0.02, kMaxErased = 0.33;
constexpr double kMinErasedRatio = 0.3, kMaxErasedRatio = 3.3;
constexpr int kTries = 10;

// Python's round(): rounds halves to the even number.
int round_half_even(double x) {
  return int(std::nearbyint(x));
}

}  // namespace

Box random_resized_crop_box(int width, int height, RandomStream& random) {
  const double image_area = double(width) * height;
  for (int i = 0; i < kTries; ++i) {
    const double area = image_area * random.uniform(kMinArea, kMaxArea);
    const double ratio = std::exp(random.uniform(std::log(kMinRatio), std::log(kMaxRatio)));
    const int w = round_half_even(std::sqrt(area * ratio));
    const int h = round_half_even(std::sqrt(area / ratio));
    if (w < 1 || w > width || h < 1 || h > height) continue;
    const int top = int(random.below(uint32_t(height - h) + 1));
    const int left = int(random.below(uint32_t(width - w) + 1));
    return {left, top, w, h};
  }

  const double ratio = double(width) / height;
  int w = width, h = height;
  if (ratio < kMinRatio) h = round_half_even(width / kMinRatio);
  if (ratio > kMaxRatio) w = round_half_even(height * kMaxRatio);
  return {(width - w) / 2, (height - h) / 2, w, h};
}

Image random_shift(const Image& image, int padding, RandomStream& random) {
  const uint32_t positions = uint32_t(2 * padding + 1);
  const int top = int(random.below(positions)) - padding;
  const int left = int(random.below(positions)) - padding;
  return crop(image, Box{left, top, image.width, image.height});
}

Box random_erasing_box(int width, int height, double probability, RandomStream& random) {
  if (random.uniform(0, 1) >= probability) return {};
  const double image_area = double(width) * height;
  for (int i = 0; i < kTries; ++i) {
    const double area = image_area * random.uniform(kMinErased, kMaxErased);
    const double ratio = std::exp(random.uniform(std::log(kMinErasedRatio), std::log(kMaxErasedRatio)));
    const int h = round_half_even(std::sqrt(area * ratio));
    const int w = round_half_even(std::sqrt(area / ratio));
    if (h >= height || w >= width) continue;
    const int top = int(random.below(uint32_t(height - h) + 1));
    const int left = int(random.below(uint32_t(width - w) + 1));
    return {left, top, w, h};
  }
  return {};
}

}  // namespace taper
