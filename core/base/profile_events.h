#pragma once
// What allocators and runtimes report to a Profiler. While no Profiler records, each call costs one relaxed
// load.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "taper/core/base/device.h"
#include "taper/core/base/op_scope.h"

namespace taper {

/// Names this thread in profiles and debuggers (which show the first 15 characters).
void set_thread_name(std::string name);

}  // namespace taper

namespace taper::detail {

/// Returns the time in nanoseconds of the clock that times all events.
int64_t profile_clock_ns();

void record_memory(Device device, int64_t delta_bytes, int64_t allocated_bytes, int64_t reserved_bytes);

/// An allocator calls this after it has updated its counters. `delta_bytes` is positive for a block that it
/// hands out, negative for one that it takes back.
inline void profile_memory(Device device, int64_t delta_bytes, int64_t allocated_bytes,
                           int64_t reserved_bytes) {
  if (profiler_records()) [[unlikely]]
    record_memory(device, delta_bytes, allocated_bytes, reserved_bytes);
}

/// Adds to the least number of bytes that the innermost open scope on this thread moves. Only while that
/// scope is recorded (OpScope::is_recorded).
void note_bytes(int64_t bytes);

/// A call of the GPU's runtime, as a bar on this thread. Not used where the vendor's profiler sees the calls
/// itself.
class CallSpan {
 public:
  explicit CallSpan(std::string_view name) {
    if (profiler_records()) [[unlikely]]
      begin(name);
  }
  ~CallSpan() {
    if (correlation_ != 0) [[unlikely]]
      op_ends(kProfiler);
  }
  CallSpan(const CallSpan&) = delete;
  CallSpan& operator=(const CallSpan&) = delete;

  /// The number that ties this call to the work it sets off; 0 while nothing records.
  uint64_t correlation() const { return correlation_; }

 private:
  void begin(std::string_view name);
  uint64_t correlation_ = 0;
};

/// A piece of work on a GPU stream. Work with an empty name gets no bar.
struct DeviceWork {
  SpanKind kind = SpanKind::kKernel;
  std::string_view name = {};  ///< a literal, or what intern() returned
  int64_t bytes = 0;
  std::array<uint32_t, 3> grid{}, block{};
  int64_t shared_bytes = 0;
  uint64_t correlation = 0;
};

/// Records `work` from here to the end of the scope, as work of `stream` on `device`.
class DeviceSpan {
 public:
  DeviceSpan(const DeviceWork& work, int device, int stream) : work_(work), device_(device), stream_(stream) {
    if (profiler_records() && !work.name.empty()) [[unlikely]]
      begin_ns_ = profile_clock_ns();
  }
  ~DeviceSpan() {
    if (begin_ns_ != 0) [[unlikely]]
      end();
  }
  DeviceSpan(const DeviceSpan&) = delete;
  DeviceSpan& operator=(const DeviceSpan&) = delete;

 private:
  void end() noexcept;
  const DeviceWork& work_;
  int device_, stream_;
  int64_t begin_ns_ = 0;
};

}  // namespace taper::detail
