#pragma once
// Data sets: numbered pictures with their classes. PyTorch's counterparts: torch.utils.data.Dataset and
// torchvision.datasets (ImageFolder, FakeData).

#include <map>
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
  /// if the picture cannot be read; another Error if something else is lacking and it may be whole.
  virtual Sample get(int64_t index) const = 0;
  /// The class of sample `index`, told without reading it.
  virtual int64_t label(int64_t index) const = 0;
  /// What errors call sample `index`: its path, if it has one.
  virtual std::string describe(int64_t index) const;

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
  int64_t label(int64_t index) const override { return samples_[size_t(index)].label; }

 private:
  std::vector<Sample> samples_;
  std::vector<std::string> class_names_;
};

/// What a listing left out, counted: names of one extension (".webp"), hidden ones, links to nothing.
struct PassedOver {
  std::map<std::string, int64_t> counts;

  void add(const PassedOver& other);
  /// "12 .webp, 3 hidden", the most first; empty if nothing was passed over.
  std::string str() const;
};

/// The pictures FOLDER/CLASS/**/*.{jpg,jpeg,png}. Classes are numbered in the order of their names, pictures
/// in the order of classes, subfolders and names, all as torchvision.datasets.ImageFolder does. Unlike it:
/// hidden names (.x, __MACOSX) are no classes and no pictures, and a class holds the pictures of a folder
/// once, however many links lead to it, and none of a folder that is another class. A link to nothing that is
/// named like a picture is one, and cannot be read.
class ImageFolderDataset : public Dataset {
 public:
  /// Lists the files without opening them. Throws FileError if a folder is missing or cannot be listed, has
  /// no class folders, or has a class folder without pictures.
  explicit ImageFolderDataset(const std::string& folder, ImageLimits limits = {});
  int64_t size() const override { return int64_t(files_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  Sample get(int64_t index) const override;
  int64_t label(int64_t index) const override { return files_[size_t(index)].label; }
  std::string describe(int64_t index) const override { return path(index); }

  const std::string& path(int64_t index) const { return files_[size_t(index)].path; }
  /// What the folder holds besides the pictures.
  const PassedOver& passed_over() const { return passed_over_; }

 private:
  struct File {
    std::string path;
    int64_t label;
  };
  std::vector<File> files_;
  std::vector<std::string> class_names_;
  PassedOver passed_over_;
  ImageLimits limits_;
};

/// Pictures of random pixels with random classes, the same for the same seed: what a benchmark trains on.
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

/// Throws Error, naming the first class that one of them lacks, unless both data sets have the same classes:
/// the numbers of `validation`'s classes would mean others than those of `train`.
void check_same_classes(const Dataset& train, const Dataset& validation);

/// The numbers of each class's samples, in order: one vector a class.
std::vector<std::vector<int64_t>> samples_by_class(const Dataset& dataset);

/// Reads pictures of each class, on all threads, until one can be read. Throws FileError, naming the first
/// class that has none, what was wrong with its first picture, and how many it has.
void check_readable(const Dataset& dataset);

}  // namespace taper
