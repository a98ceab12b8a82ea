#include "taper/core/gpu/libraries.h"

#include "taper/core/gpu/library_versions.h"
#include "taper/core/gpu/nccl_library.h"

namespace taper::gpu {

std::vector<Library> libraries() {
#if TAPER_SIMULATED_GPU
  return {};
#else
  std::vector<Library> all = {{"CUDA runtime", detail::cuda_runtime_version()},
                              {"CUDA driver", detail::cuda_driver_version()}};
  const std::string absent = "not in this build";
#if TAPER_HAVE_CUBLASLT
  all.push_back({"cuBLASLt", detail::cublaslt_version()});
#else
  all.push_back({"cuBLASLt", absent});
#endif
#if TAPER_HAVE_CUDNN
  all.push_back({"cuDNN", detail::cudnn_version()});
#else
  all.push_back({"cuDNN", absent});
#endif
  const NcclLibrary nccl;
  all.push_back({"NCCL", nccl.failure.empty() ? nccl.version() : detail::kNotOnThisMachine});
  return all;
#endif
}

}  // namespace taper::gpu
