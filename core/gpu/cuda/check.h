#pragma once
// Turns a CUDA status into an exception that carries the call, CUDA's text and the source line.

#include <cuda_runtime_api.h>

#include "taper/core/base/error.h"
#include "taper/core/gpu/capture_refusal.h"
#include "taper/core/gpu/device_loss.h"

namespace taper::gpu::detail {

/// Returns whether CUDA will answer all further calls of this process with this error. (CUDA Runtime API,
/// "cudaError": errors after which "the process must be terminated and relaunched".)
inline bool is_final(cudaError_t status) {
  switch (status) {
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorContained:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorExternalDevice:
      return true;
    default:
      return false;
  }
}

/// Marks the current device as lost and throws DeviceLostError if `status` is final.
inline void lose_device_if_final(cudaError_t status, const char* call) {
  if (!is_final(status)) return;
  int device = 0;
  cudaGetDevice(&device);
  lose_device(device,
              fmt::format("{} returned {}: {}", call, cudaGetErrorName(status), cudaGetErrorString(status)));
}

[[noreturn]] inline void fail_cuda(cudaError_t status, const char* call, const char* file, int line) {
  cudaGetLastError();  // a failed call must not show up again as the failure of the next launch
  refuse_if_forked();
  lose_device_if_final(status, call);
  if (status == cudaErrorMemoryAllocation) {
    fail<OutOfMemoryError>("{} failed: {} ({}:{})", call, cudaGetErrorString(status), file, line);
  }
  if (status >= cudaErrorStreamCaptureUnsupported && status <= cudaErrorStreamCaptureWrongThread)
    refuse_capture(fmt::format("{} failed: {}: {} ({}:{})", call, cudaGetErrorName(status),
                               cudaGetErrorString(status), file, line));
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
