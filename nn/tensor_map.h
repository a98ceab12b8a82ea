#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "taper/core/tensor.h"

namespace taper {

/// Tensors by name: what a module's state and a file's content have in common.
using TensorMap = std::map<std::string, Tensor>;
/// The same in an order: a model's parameters as it declares them.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

}  // namespace taper
