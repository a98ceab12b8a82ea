#include "taper/core/gpu/libraries.h"

#include "taper/core/gpu/library_versions.h"

namespace taper::gpu {

std::vector<Library> libraries() {
#if TAPER_SIMULATED_GPU
  return {};
#else
  const std::string absent = "not in this build";
  return {
    {"CUDA runtime", detail::cuda_runtime_version()}, {"CUDA driver", detail::cuda_driver_version()},
        {"cuBLASLt", detail::cublaslt_version()},
#if TAPER_HAVE_CUDNN
        {"cuDNN", detail::cudnn_version()},
#else
        {"cuDNN", absent},
#endif
#if TAPER_HAVE_NCCL
    {
      "NCCL", detail::nccl_version()
    }
  };
#else
    {
      "NCCL", absent
    }
  };
#endif
#endif
}

}  // namespace taper::gpu
