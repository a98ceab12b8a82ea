#pragma once
// How a Profiler hears of the GPU's work: one implementation for each runtime.

#include <string>
#include <vector>

#include "taper/core/base/profile_span.h"

namespace taper::gpu::detail {

struct DeviceRecording {
  /// What is not with record_device_work already; times are of profile_clock_ns(), `thread` of calls is the
  /// system's number.
  std::vector<ProfileSpan> spans;
  std::string note;  ///< one line on why nothing was recorded, though a device worked; empty if all is well
};

/// Starts to record kernels, copies and fills. Returns one line on why that cannot be, or nothing.
std::string start_device_profiling();

/// Waits for the devices that worked since then, stops, and returns what was recorded.
DeviceRecording stop_device_profiling();

}  // namespace taper::gpu::detail
