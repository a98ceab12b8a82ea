#pragma once

#include <map>
#include <string>

#include "taper/core/tensor.h"

namespace taper {

/// Tensors by name: what a module's state and a file's content have in common.
using TensorMap = std::map<std::string, Tensor>;

}  // namespace taper
