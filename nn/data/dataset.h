#pragma once
// Data sets: numbered pictures with their classes. PyTorch's counterparts: torch.utils.data.Dataset and
// torchvision.datasets (ImageFolder, FakeData).

#include <memory>
#include <string>
#include <vector>

#include "taper/nn/data/image.h"

namespace taper {

/// A picture and the number of its class.
struct Sample {
  Image image;
  int64_t label = 0;
};

class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual int64_t size() const = 0;
  /// One name for each class, in the order of their numbers.
  virtual const std::vector<std::string>& class_names() const = 0;
  /// Reads sample `index`, 0 <= index < size(). May be called from several threads at once. Throws FileError
  /// if the picture cannot be read.
  virtual Sample get(int64_t index) const = 0;

  int64_t num_classes() const { return int64_t(class_names().size()); }
};

/// The embedded digits (digits.h): light ink on dark paper, scaled up to 32 x 32 pixels.
class DigitsDataset : public Dataset {
 public:
  enum class Split { kTrain, kTest };
  static constexpr int kImageSize = 32;

  explicit DigitsDataset(Split split);
  int64_t size() const override { return int64_t(samples_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  Sample get(int64_t index) const override { return samples_[size_t(index)]; }

 private:
  std::vector<Sample> samples_;
  std::vector<std::string> class_names_;
};

/// The pictures FOLDER/CLASS/**/*.{jpg,jpeg,png}. Classes are numbered in the order of their names, pictures
/// in the order of classes, subfolders and names, all as torchvision.datasets.ImageFolder does.
class ImageFolderDataset : public Dataset {
 public:
  /// Lists the files without opening them. Throws FileError if the folder is missing, has no class folders,
  /// or has a class folder without pictures.
  explicit ImageFolderDataset(const std::string& folder);
  int64_t size() const override { return int64_t(files_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  Sample get(int64_t index) const override;

  const std::string& path(int64_t index) const { return files_[size_t(index)].path; }

 private:
  struct File {
    std::string path;
    int64_t label;
  };
  std::vector<File> files_;
  std::vector<std::string> class_names_;
};

/// Pictures of random pixels with random classes, the same for the same seed: what a benchmark trains on.
class SyntheticDataset : public Dataset {
 public:
  /// Throws Error unless size, num_classes and image_size are positive.
  SyntheticDataset(int64_t size, int64_t num_classes, int image_size, uint64_t seed = 0);
  int64_t size() const override { return size_; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  Sample get(int64_t index) const override;

 private:
  int64_t size_;
  int image_size_;
  uint64_t seed_;
  std::vector<std::string> class_names_;
};

/// Throws Error, naming the first class that one of them lacks, unless both data sets have the same classes:
/// the numbers of `validation`'s classes would mean others than those of `train`.
void check_same_classes(const Dataset& train, const Dataset& validation);

}  // namespace taper
