#pragma once
// Which ResNet a file of weights belongs to, for files that do not say it: PyTorch's hold tensors alone.

#include <optional>
#include <string>

#include "taper/nn/tensor_map.h"

namespace taper {

struct ResNetKind {
  std::string arch;  ///< "resnet50": see make_resnet()
  int64_t num_classes = 0;
  bool operator==(const ResNetKind&) const = default;
};

/// Returns the ResNet that has tensors of these names and shapes, as torchvision names them. Returns nothing
/// for weights of other networks, and for ResNets of other widths (Wide ResNet, ResNeXt). Looks at the tensors
/// that tell the five depths apart; load_state_dict() checks all.
std::optional<ResNetKind> resnet_of_weights(const TensorMap& weights);

}  // namespace taper
