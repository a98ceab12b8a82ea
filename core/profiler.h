#pragma once
// Profiler: what ran, when and where. Ops and waits on every host thread, kernels and copies on every GPU
// stream, and each allocation with the bytes then held, from one clock.
//
//   Profiler profiler;
//   step();
//   write_chrome_trace("trace.json", profiler.stop());      // nn/report/chrome_trace.h
//
// OpScope (core/base/op_scope.h) names what is recorded: ops name themselves, programs add scopes of their
// own. Each thread writes into a buffer of its own; with no Profiler alive an op costs one relaxed load more
// than without. Kernels come from CUPTI on NVIDIA's GPUs, and from the simulated GPU as it runs them.
// PyTorch's counterparts: torch/csrc/autograd/profiler_kineto.h and libkineto.

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
  /// At most this many bars and allocations are kept, at some 250 bytes each; the rest is counted.
  int64_t max_events = 1'000'000;
  bool memory = true;  ///< record allocations
};

class Profiler {
 public:
  /// Starts to record on all threads. Throws Error if another Profiler records.
  explicit Profiler(ProfilerOptions options = {});
  /// Stops; what was not asked for with stop() is lost.
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// Waits for the GPUs that worked meanwhile, and returns what happened. Scopes that are still open end
  /// here. Throws Error if it has been called before.
  Profile stop();

  /// True while one records.
  static bool is_recording() { return detail::profiler_records(); }

 private:
  uint64_t end_recording();

  int64_t start_ns_ = 0;
  std::string note_;
  bool recording_ = false;
};

namespace detail {
/// As note_bytes() of core/base/profile_events.h: each of `tensors` once.
void note_bytes(std::span<const Tensor> tensors);
}  // namespace detail

}  // namespace taper
