#pragma once
// The images that resnet50_train learns from and is judged by.

#include <memory>
#include <string>
#include <vector>

#include "options.h"
#include "taper/nn/data/loader.h"
#include "taper/nn/data/transforms.h"

namespace taper {

struct Data {
  std::unique_ptr<DataLoader> train;       ///< null with --eval-only
  std::unique_ptr<DataLoader> validation;  ///< null if there is no validation set
  int64_t num_classes = 0;                 ///< of the network
  std::vector<std::string> notes = {};     ///< lines for the header

  /// Returns a line for each image that could not be read so far.
  std::vector<std::string> unreadable() const;
};

/// Returns how images are turned into the network's input in evaluation.
ImageTransform evaluation_geometry(const TrainOptions& options);

/// Opens the data sets that the options name. Throws Error if they cannot be used.
Data load_data(const TrainOptions& options);

}  // namespace taper
