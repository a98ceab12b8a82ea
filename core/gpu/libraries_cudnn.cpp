#include <cudnn.h>
#include <fmt/format.h>

#include "taper/core/gpu/library_versions.h"

namespace taper::gpu::detail {

// 10000 major + 100 minor + patch, as CUDNN_VERSION since version 9.
std::string cudnn_version() {
  const size_t version = cudnnGetVersion();
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

}  // namespace taper::gpu::detail
