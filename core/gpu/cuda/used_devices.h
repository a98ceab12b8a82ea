#pragma once
// The devices that got work while a Profiler recorded, which it waits for at its end. Waiting for all devices
// would create a context of hundreds of megabytes on each GPU that the program leaves alone.

#include <atomic>
#include <cstdint>

#include "taper/core/base/op_scope.h"

namespace taper::gpu::detail {

inline constinit std::atomic<uint64_t> used_devices{0};  // one bit for each device

inline void note_used(int device) {
  if (taper::detail::profiler_records()) [[unlikely]]
    used_devices.fetch_or(uint64_t{1} << device, std::memory_order_relaxed);
}

inline void forget_used_devices() {
  used_devices = 0;
}

/// Waits for the work of these devices. Throws what failed in it.
void wait_for_used_devices();

}  // namespace taper::gpu::detail
