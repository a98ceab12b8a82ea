#pragma once
// Batch: images and classes as a network and its loss take them.

#include <vector>

#include "taper/core/tensor.h"

namespace taper {

struct Batch {
  Tensor images;      ///< [N, 3, H, W] in the loader's dtype, channels_last
  Tensor labels;      ///< [N] i64
  int64_t step = 0;   ///< its index in the epoch
  int64_t epoch = 0;  ///< from 0
  /// The index of each image in the data set. A stand-in (BrokenImages::kReplace) has the unreadable image's index.
  std::vector<int64_t> indices = {};
  /// [N, classes], f32 or f64: how much of each class is in each image, if images were mixed; else undefined.
  Tensor probabilities = {};
  /// [N, 4] i64, if there is random erasing: top, left, bottom and right of the rectangle that is erased, the last two
  /// beyond it; zeros for none.
  Tensor erased = {};

  int64_t size() const { return labels.size(0); }
  /// Returns images [begin, end), as views.
  Batch slice(int64_t begin, int64_t end) const;
  /// Returns what cross_entropy() compares logits with: the probabilities if images were mixed, else the labels.
  const Tensor& target() const { return probabilities.defined() ? probabilities : labels; }
};

}  // namespace taper
