#pragma once
// The network that resnet50_train trains.

#include <memory>
#include <string>
#include <vector>

#include "options.h"
#include "taper/nn/io/model_description.h"
#include "taper/nn/models/resnet.h"

namespace taper {

/// With --eval-only, takes what the command line leaves open from the weights' file: the network from its tensors, the
/// images' size and the number of classes where it says them. Throws Error if the file cannot be read.
TrainOptions as_weights_say(TrainOptions options);

/// With --eval-only: throws Error if the weights' file calls classes otherwise than `names`, those of the validation set.
void check_classes(const TrainOptions& options, const std::vector<std::string>& names);

/// Throws Error, beginning with `where`, unless class i is called names[i] in `saved`, whose further names do not
/// matter.
void check_class_names(const std::string& where, const ModelDescription& saved,
                       const std::vector<std::string>& names);

/// Returns the network with its first weights: random ones, or those of --init or --pretrained; frozen where the
/// options say so. Appends to `notes` what was taken and frozen. Throws Error if weights or names do not fit.
std::unique_ptr<ResNet> build_model(const TrainOptions& options, int64_t num_classes,
                                    std::vector<std::string>& notes);

/// Returns the name of the first tensor that holds NaN or infinity; "" if all are finite.
std::string name_of_not_finite(const TensorMap& tensors);

}  // namespace taper
