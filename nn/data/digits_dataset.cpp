#include "taper/nn/data/digits_dataset.h"

#include <algorithm>

#include "taper/nn/data/digits.h"
#include "taper/nn/data/resize.h"

namespace taper {

DigitsDataset::DigitsDataset(Split split) {
  const Digits digits = split == Split::kTrain ? digits_train() : digits_test();
  samples_.reserve(size_t(digits.size()));
  for (int64_t i = 0; i < digits.size(); ++i) {
    Image small(Digits::kWidth, Digits::kHeight);
    for (int p = 0; p < Digits::kWidth * Digits::kHeight; ++p) {
      const int ink = digits.pixels[size_t(i) * Digits::kWidth * Digits::kHeight + p];
      std::fill_n(&small.pixels[3 * size_t(p)], 3,
                  uint8_t((ink * 255 + Digits::kMaxPixel / 2) / Digits::kMaxPixel));
    }
    samples_.push_back({resize(small, kImageSize, kImageSize), digits.labels[size_t(i)]});
  }
  for (int digit = 0; digit < Digits::kClasses; ++digit) class_names_.push_back(std::to_string(digit));
}

}  // namespace taper
