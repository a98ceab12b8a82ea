#include "taper/nn/data/synthetic_dataset.h"

#include <algorithm>
#include <cstring>

#include "taper/core/base/error.h"
#include "taper/nn/data/random_stream.h"

namespace taper {

SyntheticDataset::SyntheticDataset(int64_t size, int64_t num_classes, int image_size, uint64_t seed)
    : size_(size), image_size_(image_size), seed_(seed) {
  TAPER_CHECK(size > 0 && num_classes > 0 && image_size > 0,
              "SyntheticDataset: needs at least one image, class and pixel, got {}, {} and {}", size,
              num_classes, image_size);
  for (int64_t i = 0; i < num_classes; ++i) class_names_.push_back(fmt::format("class {}", i));
}

int64_t SyntheticDataset::label(int64_t index) const {
  return RandomStream(seed_, RandomPurpose::kPixels, 0, uint64_t(index)).below(uint32_t(num_classes()));
}

Sample SyntheticDataset::get(int64_t index) const {
  RandomStream random(seed_, RandomPurpose::kPixels, 0, uint64_t(index));
  Sample sample{Image(image_size_, image_size_), random.below(uint32_t(num_classes()))};
  auto& pixels = sample.image.pixels;
  for (size_t i = 0; i < pixels.size(); i += 4) {
    const uint32_t bits = random.bits();
    std::memcpy(&pixels[i], &bits, std::min<size_t>(4, pixels.size() - i));
  }
  return sample;
}

}  // namespace taper
