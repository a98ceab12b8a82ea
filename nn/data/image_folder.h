#pragma once
// ImageFolderDataset: a folder with a subfolder of image files for each class. PyTorch's counterpart:
// torchvision.datasets.ImageFolder.

#include <map>

#include "taper/nn/data/dataset.h"

namespace taper {

/// Counts of what a listing left out: names of one extension (".webp"), hidden ones, links to nothing.
struct PassedOver {
  std::map<std::string, int64_t> counts;

  void add(const PassedOver& other);
  /// "12 .webp, 3 hidden", the largest count first; empty if nothing was left out.
  std::string str() const;
};

/// Returns the paths of the images at any depth below `folder`: those of a folder before those of its subfolders, each
/// sorted by name. Hidden names are left out, and a folder is listed once, however many links lead to it. Adds what is left
/// out to `passed_over`. Throws FileError if a folder is missing or cannot be listed.
std::vector<std::string> list_images(const std::string& folder, PassedOver& passed_over);

/// The images FOLDER/CLASS/**/*.{jpg,jpeg,png}. Classes are numbered in the order of their names, images in
/// the order of classes, subfolders and names, as in torchvision.datasets.ImageFolder. Unlike there, hidden
/// names (.x, __MACOSX) are no classes and no images. A class has the images of a folder once, however many
/// links lead to it, and none of a folder that is another class. A link to nothing with an image's name
/// counts as an image that cannot be read.
class ImageFolderDataset : public Dataset {
 public:
  /// Lists the files without opening them. Throws FileError if a folder is missing or cannot be listed, has
  /// no class folders, or has a class folder without images.
  explicit ImageFolderDataset(const std::string& folder, ImageLimits limits = {});
  int64_t size() const override { return int64_t(files_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  Sample get(int64_t index) const override;
  int64_t label(int64_t index) const override { return files_[size_t(index)].label; }
  std::string describe(int64_t index) const override { return path(index); }

  const std::string& path(int64_t index) const { return files_[size_t(index)].path; }
  /// Returns counts of what the folder holds besides the images.
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

}  // namespace taper
