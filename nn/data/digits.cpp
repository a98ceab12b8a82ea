#include "taper/nn/data/digits.h"

// digits.bin: all images' pixels, then their labels. CMake's taper_embed_file() defines the symbol.
extern "C" const uint8_t taper_embedded_digits_bin[];

namespace taper {
namespace {

constexpr size_t kImages = 1797, kTrain = 1437, kPixels = size_t(Digits::kHeight) * Digits::kWidth;

Digits slice(size_t first, size_t count) {
  const std::span pixels(taper_embedded_digits_bin, kImages * kPixels);
  const std::span labels(taper_embedded_digits_bin + kImages * kPixels, kImages);
  return {.pixels = pixels.subspan(first * kPixels, count * kPixels), .labels = labels.subspan(first, count)};
}

}  // namespace

Digits digits_train() {
  return slice(0, kTrain);
}
Digits digits_test() {
  return slice(kTrain, kImages - kTrain);
}

}  // namespace taper
