#pragma once
// The parts of libraries.cpp: one function for each vendor library, in the one file that may see its headers.

#include <string>

#include "taper/core/gpu/shared_library.h"

namespace taper::gpu::detail {

inline constexpr const char* kNotOnThisMachine = "not on this machine";

std::string cuda_runtime_version();  // cuda/libraries.cpp
std::string cuda_driver_version();   // the newest CUDA that the driver supports; "none" without a driver
std::string cublaslt_version();      // cuda/cublaslt/version.cpp; kNotOnThisMachine if it cannot be opened
SharedLibrary open_cublaslt();       // of this build's version if there is one
std::string cudnn_version();         // cuda/cudnn/version.cpp; kNotOnThisMachine if it cannot be opened
SharedLibrary open_cudnn();
const void* address_in_cuda_runtime();  // cuda/libraries.cpp; of a function, which tells where the library is

}  // namespace taper::gpu::detail
