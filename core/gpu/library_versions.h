#pragma once
// What libraries.cpp is made of: one function to a vendor library, each in the file that may see its headers.

#include <string>

#include "taper/core/gpu/shared_library.h"

namespace taper::gpu::detail {

inline constexpr const char* kNotOnThisMachine = "not on this machine";

std::string cuda_runtime_version();  // cuda_libraries.cpp
std::string cuda_driver_version();   // the newest CUDA that the driver supports; "none" without a driver
std::string cublaslt_version();      // libraries_cublaslt.cpp; kNotOnThisMachine if it cannot be opened
SharedLibrary open_cublaslt();       // of this build's version if there is one
std::string cudnn_version();         // libraries_cudnn.cpp; kNotOnThisMachine if it cannot be opened
SharedLibrary open_cudnn();
std::string nccl_version();  // libraries_nccl.cpp

}  // namespace taper::gpu::detail
