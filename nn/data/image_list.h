#pragma once
// ImageListDataset: image files in a given order, without classes. For programs that apply a model.

#include "taper/nn/data/dataset.h"

namespace taper {

/// The images at `paths`, in their order. The label of a sample is its index, so that a batch says which images
/// it holds even if a loader left out others that cannot be read (BrokenImages::kSkip).
class ImageListDataset : public Dataset {
 public:
  explicit ImageListDataset(std::vector<std::string> paths, ImageLimits limits = {})
      : paths_(std::move(paths)), limits_(limits) {}
  int64_t size() const override { return int64_t(paths_.size()); }
  /// Returns no names.
  const std::vector<std::string>& class_names() const override { return no_classes_; }
  Sample get(int64_t index) const override { return {read_image(path(index), limits_), index}; }
  int64_t label(int64_t index) const override { return index; }
  std::string describe(int64_t index) const override { return path(index); }

  const std::string& path(int64_t index) const { return paths_[size_t(index)]; }

 private:
  std::vector<std::string> paths_;
  std::vector<std::string> no_classes_;
  ImageLimits limits_;
};

}  // namespace taper
