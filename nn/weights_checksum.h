#pragma once
// A sum over the bits of weights, that says whether two copies of them are alike.

#include <cstdint>
#include <string>
#include <vector>

#include "taper/core/tensor.h"

namespace taper {

/// Returns a sum that changes with every bit of the tensors, whatever their memory order and device.
uint32_t weights_checksum(const std::vector<Tensor>& tensors);

/// The names of weights, in order, and their sum.
struct WeightsChecksum {
  std::vector<std::string> names;
  uint32_t sum = 0;
};

}  // namespace taper
