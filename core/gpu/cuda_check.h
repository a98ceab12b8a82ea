#pragma once
// Turns a CUDA status into an exception that carries the call, CUDA's text and the source line.

#include <cuda_runtime_api.h>

#include "taper/core/error.h"

namespace taper::gpu::detail {

[[noreturn]] inline void fail_cuda(cudaError_t status, const char* call, const char* file, int line) {
  cudaGetLastError();  // a failed call must not show up again as the failure of the next launch
  if (status == cudaErrorMemoryAllocation) {
    fail<OutOfMemoryError>("{} failed: {} ({}:{})", call, cudaGetErrorString(status), file, line);
  }
  fail("{} failed: {}: {} ({}:{})", call, cudaGetErrorName(status), cudaGetErrorString(status), file, line);
}

}  // namespace taper::gpu::detail

/// Throws taper::Error (OutOfMemoryError where memory ran out) unless the CUDA runtime call succeeds.
#define TAPER_CUDA_CHECK(call)                                                     \
  do {                                                                             \
    if (const cudaError_t status_ = (call); status_ != cudaSuccess) [[unlikely]] { \
      ::taper::gpu::detail::fail_cuda(status_, #call, __FILE__, __LINE__);         \
    }                                                                              \
  } while (false)
