#pragma once  // spine 61 (docs/0-the-spine.md)
// Dataset: numbered images with their classes. PyTorch's counterpart: torch.utils.data.Dataset.

#include <string>
#include <vector>

#include "taper/nn/data/image.h"

namespace taper {

/// An image and the number of its class.
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
  /// Reads sample `index`, 0 <= index < size(). Thread-safe. Throws FileError if the image cannot be read,
  /// and another Error if the process lacks something and the image may be whole.
  virtual Sample get(int64_t index) const = 0;
  /// Returns the class of sample `index` without reading the sample.
  virtual int64_t label(int64_t index) const = 0;
  /// Returns the name of sample `index` in errors: its path, if it has one.
  virtual std::string describe(int64_t index) const;

  int64_t num_classes() const { return int64_t(class_names().size()); }
};

/// Throws Error, naming the first class that one of the two lacks, unless both data sets have equal classes:
/// otherwise a class number would have two meanings.
void check_same_classes(const Dataset& train, const Dataset& validation);

/// Returns the numbers of each class's samples, in order: one vector per class.
std::vector<std::vector<int64_t>> samples_by_class(const Dataset& dataset);

/// Reads images of each class, on all threads, until one can be read. Throws FileError for the first class
/// without a readable image: its name, what was wrong with its first image, and its number of images.
void check_readable(const Dataset& dataset);

}  // namespace taper
