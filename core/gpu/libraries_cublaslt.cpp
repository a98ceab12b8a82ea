#include <cublasLt.h>
#include <fmt/format.h>

#include "taper/core/gpu/library_versions.h"

namespace taper::gpu::detail {

// 10000 major + 100 minor + patch, as CUBLAS_VERSION.
std::string cublaslt_version() {
  const size_t version = cublasLtGetVersion();
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

}  // namespace taper::gpu::detail
