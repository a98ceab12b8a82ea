#pragma once
// Checking values that only a kernel sees, such as a class target or an index. For .cu files only.

#include <cstdio>

#include "taper/core/gpu/simt.h"

namespace taper::gpu {

/// Ends the kernel unless `condition` holds. `message` names the operation and what it needed. On the
/// simulated GPU the launch fails with the message, kernel, block and thread. With CUDA the message is
/// printed and the kernel traps. The process can then no longer use its GPU, as after a failed device
/// assertion in PyTorch (CUDA_KERNEL_ASSERT). The error surfaces at the next synchronising call.
__device__ __forceinline__ void device_check(bool condition, const char* message) {
  if (condition) return;
#if TAPER_SIMULATED_GPU
  sim::fault(message);
#else
  printf("taper: %s (block [%u, %u, %u], thread [%u, %u, %u])\n", message, blockIdx.x, blockIdx.y, blockIdx.z,
         threadIdx.x, threadIdx.y, threadIdx.z);
  __trap();
#endif
}

}  // namespace taper::gpu
