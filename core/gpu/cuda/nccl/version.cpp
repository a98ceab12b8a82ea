// The version of the NCCL that this process has loaded, as text.

#include <fmt/format.h>
#include <nccl.h>

#include "taper/core/base/error.h"
#include "taper/core/gpu/library_versions.h"

namespace taper::gpu::detail {

// 10000 major + 100 minor + patch, like NCCL_VERSION_CODE since 2.9.
std::string nccl_version() {
  int version = 0;
  if (const ncclResult_t status = ncclGetVersion(&version); status != ncclSuccess) {
    fail("ncclGetVersion failed: {}", ncclGetErrorString(status));
  }
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

}  // namespace taper::gpu::detail
