#pragma once
// How a Profiler learns of the GPU's work. Each runtime has one implementation.

#include <string>
#include <vector>

#include "taper/core/base/profile_span.h"

namespace taper::gpu::detail {

struct DeviceRecording {
  /// What record_device_work has not recorded already. Times are of profile_clock_ns(); `thread` of a call is
  /// the system's thread number.
  std::vector<ProfileSpan> spans;
  std::string note;  ///< one line on why nothing was recorded although a device worked; else empty
};

/// Starts to record kernels, copies and fills. Returns one line on why it cannot, or an empty text.
std::string start_device_profiling();

/// Waits for the devices that worked since start_device_profiling(), stops, and returns what was recorded.
DeviceRecording stop_device_profiling();

}  // namespace taper::gpu::detail
