#pragma once
// The devices that got work while a Profiler recorded: the ones to wait for at its end. Waiting for all would
// create a context, hundreds of megabytes, on each GPU that the program leaves alone.

#include <atomic>
#include <cstdint>

#include "taper/core/base/op_scope.h"

namespace taper::gpu::detail {

inline constinit std::atomic<uint64_t> used_devices{0};  // a bit each

inline void note_used(int device) {
  if (taper::detail::profiler_records()) [[unlikely]]
    used_devices.fetch_or(uint64_t{1} << device, std::memory_order_relaxed);
}

inline void forget_used_devices() {
  used_devices = 0;
}

/// Throws what failed in their work.
void wait_for_used_devices();

}  // namespace taper::gpu::detail
