#pragma once
// What the runtime's two implementations share. Nobody else needs it.

#include "taper/core/gpu/runtime.h"

namespace taper::gpu {

struct StreamAccess {
  static Stream make(int device, int id, StreamPriority priority, CUstream_st* handle) {
    return Stream(device, id, priority, handle);
  }
};

namespace detail {

constexpr int kMaxDevices = 64;

/// Returns a new non-blocking cudaStream_t; null in the simulated build.
CUstream_st* create_stream_handle(int device, StreamPriority priority);

/// Throws Error unless `device` exists.
void check_device(const char* call, int device);

}  // namespace detail
}  // namespace taper::gpu
