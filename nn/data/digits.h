#pragma once
// The data set inside the library: 1,797 handwritten digits of 8x8 pixels (UCI Optical Recognition of
// Handwritten Digits, CC BY 4.0, see digits.LICENSE.md). It needs no file at run time, so every machine can
// train on real data.

#include <cstdint>
#include <span>

namespace taper {

/// n images and their labels. The bytes live as long as the program.
struct Digits {
  static constexpr int kHeight = 8, kWidth = 8, kClasses = 10;
  static constexpr int kMaxPixel = 16;

  std::span<const uint8_t> pixels;  ///< [n, 8, 8], row by row, from 0 (paper) to 16 (ink)
  std::span<const uint8_t> labels;  ///< [n], 0 to 9

  int64_t size() const { return int64_t(labels.size()); }
};

/// Returns the 1,437 images for training, in a fixed shuffled order.
Digits digits_train();

/// Returns the 360 images for testing, 36 of each class, in a fixed shuffled order.
Digits digits_test();

}  // namespace taper
