#pragma once
// Profiler: what ran, when and where. One clock times ops and waits on every host thread, kernels and copies
// on every GPU stream, and each allocation with the bytes then held.
//
//   Profiler profiler;
//   step();
//   write_chrome_trace("trace.json", profiler.stop());      // nn/report/chrome_trace.h
//
// OpScope (core/base/op_scope.h) names what is recorded: ops name themselves, programs add scopes of their
// own. Each thread writes into its own buffer. Without a living Profiler, an op costs one more relaxed load.
// Kernels come from CUPTI on NVIDIA's GPUs, and from the simulated GPU as it runs them. PyTorch's
// counterparts: torch/csrc/autograd/profiler_kineto.h and libkineto.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "taper/core/base/profile_span.h"

namespace taper {

class Tensor;

struct Profile {
  std::vector<ProfileSpan> spans;    ///< thread by thread, then stream by stream; outer bars before inner
  std::vector<MemorySample> memory;  ///< in order of time
  std::vector<std::string> threads;  ///< their names
  std::vector<std::string> devices;  ///< names of the GPUs, by index; empty where one did nothing
  int64_t duration_ns = 0;
  int64_t dropped = 0;  ///< events beyond ProfilerOptions::max_events
  std::string note;     ///< why kernels are missing; empty if they are not
};

struct ProfilerOptions {
  /// Keeps at most this many bars and allocations, at about 250 bytes each, and counts the rest.
  int64_t max_events = 1'000'000;
  bool memory = true;  ///< record allocations
};

class Profiler {
 public:
  /// Starts to record on all threads. Throws Error if another Profiler records.
  explicit Profiler(ProfilerOptions options = {});
  /// Stops. What stop() has not returned is lost.
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// Waits for the GPUs that worked since the start, and returns what was recorded. Scopes that are still
  /// open end here. Throws Error when called again.
  Profile stop();

  /// Returns whether any Profiler records.
  static bool is_recording() { return detail::profiler_records(); }

 private:
  uint64_t end_recording();

  int64_t start_ns_ = 0;
  std::string note_;
  bool recording_ = false;
};

namespace detail {
/// As note_bytes() in core/base/profile_events.h, counting each of `tensors` once.
void note_bytes(std::span<const Tensor> tensors);
}  // namespace detail

}  // namespace taper
