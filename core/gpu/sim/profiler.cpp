// The simulated GPU records its work as it runs it (Machine::run_work). This file makes it run.

#include "taper/core/gpu/device_profiler.h"
#include "taper/core/gpu/sim/schedule.h"

namespace taper::gpu {

std::string detail::start_device_profiling() {
  return {};
}

detail::DeviceRecording detail::stop_device_profiling() {
  sim::Machine& machine = sim::Machine::instance();
  const std::lock_guard lock(machine.mutex);
  for (int device = 0; device < machine.device_count(); ++device) machine.run_all(device);
  return {};
}

}  // namespace taper::gpu
