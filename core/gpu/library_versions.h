#pragma once
// What libraries.cpp is made of: one function to a vendor library, each in the file that may see its headers.

#include <string>

namespace taper::gpu::detail {

std::string cuda_runtime_version();  // cuda_libraries.cpp
std::string cuda_driver_version();   // the newest CUDA that the driver supports; "none" without a driver
std::string cublaslt_version();      // libraries_cublaslt.cpp
std::string cudnn_version();         // libraries_cudnn.cpp
std::string nccl_version();          // libraries_nccl.cpp

}  // namespace taper::gpu::detail
