// Versions of the CUDA runtime and the driver; both are numbered 1000 major + 10 minor.

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "taper/core/gpu/cuda/check.h"
#include "taper/core/gpu/library_versions.h"

namespace taper::gpu::detail {

std::string cuda_runtime_version() {
  int version = 0;
  TAPER_CUDA_CHECK(cudaRuntimeGetVersion(&version));
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

std::string cuda_driver_version() {
  int version = 0;
  TAPER_CUDA_CHECK(cudaDriverGetVersion(&version));
  return version == 0 ? "none" : fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

const void* address_in_cuda_runtime() {
  return reinterpret_cast<const void*>(&cudaRuntimeGetVersion);
}

}  // namespace taper::gpu::detail
