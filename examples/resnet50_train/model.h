#pragma once
// The network that resnet50_train trains.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "options.h"
#include "taper/nn/io/model_description.h"
#include "taper/nn/models/resnet.h"

namespace taper {

/// With --eval-only, takes what the command line leaves open from the weights' file: the network from its tensors, the
/// images' size where it says it. Throws Error if the file cannot be read.
TrainOptions as_weights_say(TrainOptions options);

/// Returns what is different between `names`, those of a data set, and the names of the weights' classes: nothing if
/// the weights' begin with these names.
std::optional<std::string> difference_of_classes(const std::vector<std::string>& weights,
                                                 const std::vector<std::string>& names);

/// With --eval-only: throws Error if the weights' file calls classes otherwise than `names`, those of the validation
/// set. Returns how many classes it has; nothing if it does not say.
std::optional<int64_t> check_classes(const TrainOptions& options, const std::vector<std::string>& names);

/// Returns a line about weights for as many classes as the data set's, `names`, if these are others; else nothing.
std::optional<std::string> note_of_other_classes(const TrainOptions& options,
                                                 const std::vector<std::string>& names);

/// Returns the network with its first weights: random ones, or those of --init or --pretrained; frozen where the
/// options say so. Appends to `notes` what was taken and frozen. Throws Error if weights or names do not fit.
std::unique_ptr<ResNet> build_model(const TrainOptions& options, int64_t num_classes,
                                    std::vector<std::string>& notes);

/// Returns the name of the first tensor that holds NaN or infinity; "" if all are finite.
std::string name_of_not_finite(const TensorMap& tensors);

}  // namespace taper
