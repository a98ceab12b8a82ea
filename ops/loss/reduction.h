#pragma once

#include <cstdint>

namespace taper {

/// What a loss returns: one value per position, their mean, or their sum.
enum class Reduction : uint8_t { kNone, kMean, kSum };

}  // namespace taper
