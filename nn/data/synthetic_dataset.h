#pragma once
// SyntheticDataset: random images for benchmarks. PyTorch's counterpart: torchvision.datasets.FakeData.

#include "taper/nn/data/dataset.h"

namespace taper {

/// Images of random pixels with random classes, for benchmarks. A seed always gives the same images.
class SyntheticDataset : public Dataset {
 public:
  /// Throws Error unless size, num_classes and image_size are positive.
  SyntheticDataset(int64_t size, int64_t num_classes, int image_size, uint64_t seed = 0);
  int64_t size() const override { return size_; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  Sample get(int64_t index) const override;
  int64_t label(int64_t index) const override;

 private:
  int64_t size_;
  int image_size_;
  uint64_t seed_;
  std::vector<std::string> class_names_;
};

}  // namespace taper
