#pragma once

#include <map>
#include <string>

#include "taper/nn/tensor_map.h"

namespace taper {

/// The state from which an optimiser, a schedule or an average resumes, by name: numbers, and tensors that
/// share memory with their owner.
struct SavedState {
  TensorMap tensors;
  std::map<std::string, double> numbers;

  /// Returns the number called `name`. Throws Error naming it and `owner` if there is none.
  double number(const std::string& name, std::string_view owner) const {
    const auto found = numbers.find(name);
    TAPER_CHECK(found != numbers.end(), "{}: the saved state has no {}", owner, name);
    return found->second;
  }
};

}  // namespace taper
