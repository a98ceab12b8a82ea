#pragma once
// Which of NVIDIA's libraries this process runs on. Results and speed change with their versions, so logs and
// caches of timings name these.

#include <string>
#include <vector>

namespace taper::gpu {

struct Library {
  std::string name;     // "CUDA runtime", "CUDA driver", "cuBLASLt", "cuDNN", "NCCL"
  std::string version;  // "9.19.0"; or why there is none: "not in this build", "not on this machine"
};

/// Returns the libraries as loaded now; they may be newer than those of the build. Returns none in the
/// simulated build. Throws Error if a library fails to tell its version.
std::vector<Library> libraries();

}  // namespace taper::gpu
