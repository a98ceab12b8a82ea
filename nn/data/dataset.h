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
  /// Reads sample `index`, 0 <= index < size(). May be called from several threads at once. Throws FileError
  /// if the image cannot be read; another Error if something else is lacking and it may be whole.
  virtual Sample get(int64_t index) const = 0;
  /// The class of sample `index`, told without reading it.
  virtual int64_t label(int64_t index) const = 0;
  /// What errors call sample `index`: its path, if it has one.
  virtual std::string describe(int64_t index) const;

  int64_t num_classes() const { return int64_t(class_names().size()); }
};

/// Throws Error, naming the first class that one of them lacks, unless both data sets have the same classes:
/// the numbers of `validation`'s classes would mean others than those of `train`.
void check_same_classes(const Dataset& train, const Dataset& validation);

/// The numbers of each class's samples, in order: one vector a class.
std::vector<std::vector<int64_t>> samples_by_class(const Dataset& dataset);

/// Reads images of each class, on all threads, until one can be read. Throws FileError, naming the first
/// class that has none, what was wrong with its first image, and how many it has.
void check_readable(const Dataset& dataset);

}  // namespace taper
