// The version of the cuBLASLt that this process has opened, as text.

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "taper/core/gpu/library_versions.h"

namespace taper::gpu::detail {

SharedLibrary open_cublaslt() {
  std::vector<std::string> names =
      nvidia_library_names(fmt::format("libcublasLt.so.{}", CUBLAS_VER_MAJOR), "cublas",
                           reinterpret_cast<const void*>(&cudaRuntimeGetVersion));
  names.push_back("libcublasLt.so");  // any other version, for a message that names it
  return SharedLibrary(names);
}

// 10000 major + 100 minor + patch, like CUBLAS_VERSION.
std::string cublaslt_version() {
  SharedLibrary library = open_cublaslt();
  decltype(cublasLtGetVersion)* get_version = nullptr;
  library.find(get_version, "cublasLtGetVersion");
  if (get_version == nullptr) return kNotOnThisMachine;
  const size_t version = get_version();
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

}  // namespace taper::gpu::detail
