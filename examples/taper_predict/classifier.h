#pragma once
// The network that taper-predict applies, from whatever file its weights are in.

#include <memory>
#include <string>

#include "examples/command_line.h"
#include "options.h"
#include "taper/nn/io/model_description.h"
#include "taper/nn/models/resnet.h"

namespace taper {

struct Classifier {
  std::unique_ptr<ResNet> model;  ///< on the CPU, in evaluation mode
  ModelDescription description;   ///< a name for each output

  /// Returns the number of outputs.
  int64_t num_classes() const { return int64_t(description.class_names.size()); }
};

/// Reads the weights, and what the file says of them. Throws BadInput, one line that names the file or flag, if the
/// weights cannot be read, are of no known network, or do not fit it.
Classifier load_classifier(const PredictOptions& options);

}  // namespace taper
