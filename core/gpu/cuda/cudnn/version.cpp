// The version of the cuDNN that this process has opened, as text.

#include <cuda_runtime_api.h>
#include <cudnn_version.h>
#include <fmt/format.h>

#include "taper/core/gpu/library_versions.h"

namespace taper::gpu::detail {

SharedLibrary open_cudnn() {
  return SharedLibrary(nvidia_library_names(fmt::format("libcudnn.so.{}", CUDNN_MAJOR), "cudnn",
                                            reinterpret_cast<const void*>(&cudaRuntimeGetVersion)));
}

// 10000 major + 100 minor + patch, like CUDNN_VERSION since version 9.
std::string cudnn_version() {
  SharedLibrary library = open_cudnn();
  size_t (*get_version)() = nullptr;
  library.find(get_version, "cudnnGetVersion");
  if (get_version == nullptr) return kNotOnThisMachine;
  const size_t version = get_version();
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

}  // namespace taper::gpu::detail
