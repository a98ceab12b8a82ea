#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "taper/core/tensor.h"

namespace taper {

/// Tensors by name: a module's state, or a file's content.
using TensorMap = std::map<std::string, Tensor>;
/// Tensors with names, in an order: a model's parameters as it declares them.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

}  // namespace taper
