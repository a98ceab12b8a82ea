#pragma once
// DigitsDataset: the handwritten digits inside the library as a data set.

#include "taper/nn/data/dataset.h"

namespace taper {

/// The embedded digits (digits.h): light ink on dark paper, scaled up to 32 x 32 pixels.
class DigitsDataset : public Dataset {
 public:
  enum class Split { kTrain, kTest };
  static constexpr int kImageSize = 32;

  explicit DigitsDataset(Split split);
  int64_t size() const override { return int64_t(samples_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  Sample get(int64_t index) const override { return samples_[size_t(index)]; }
  int64_t label(int64_t index) const override { return samples_[size_t(index)].label; }

 private:
  std::vector<Sample> samples_;
  std::vector<std::string> class_names_;
};

}  // namespace taper
