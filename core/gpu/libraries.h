#pragma once
// Which of NVIDIA's libraries this process runs on. Results and speed change with their versions, so logs and
// caches of timings name them.

#include <string>
#include <vector>

namespace taper::gpu {

struct Library {
  std::string name;     // "CUDA runtime", "CUDA driver", "cuBLASLt", "cuDNN", "NCCL"
  std::string version;  // "9.19.0"; or why there is none: "not in this build", "not on this machine"
};

/// The libraries as loaded now, which may be newer than those of the build. Empty in the simulated build.
/// Throws Error if one of them fails to tell.
std::vector<Library> libraries();

}  // namespace taper::gpu
