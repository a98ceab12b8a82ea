#pragma once
// How errors describe a launch.

#include <string>

#include "taper/core/gpu/launch.h"

namespace taper::gpu::detail {

/// Returns "launch of NAME on cuda:0 with grid (..), block (..), N bytes of dynamic shared memory".
std::string launch_text(const char* name, const LaunchConfig& config);

}  // namespace taper::gpu::detail
