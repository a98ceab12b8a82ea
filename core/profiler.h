#pragma once
// Profiler: what ran, when and where. Ops and waits on every host thread, kernels and copies on every GPU
// stream, and each allocation with the bytes then held, from one clock.
//
//   Profiler profiler;
//   step();
//   write_chrome_trace("trace.json", profiler.stop());      // nn/report/chrome_trace.h
//
// OpScope (core/op_scope.h) names what is recorded: ops name themselves, programs add scopes of their own.
// Each thread writes into a buffer of its own; with no Profiler alive an op costs one relaxed load more than
// without. Kernels come from CUPTI on NVIDIA's GPUs, and from the simulated GPU as it runs them. PyTorch's
// counterparts: torch/csrc/autograd/profiler_kineto.h and libkineto.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "taper/core/algorithm_statistics.h"
#include "taper/core/device.h"
#include "taper/core/op_scope.h"

namespace taper {

/// A bar in the picture: from begin to end on one host thread or one GPU stream. Bars of a thread nest.
struct ProfileSpan {
  SpanKind kind = SpanKind::kOp;
  std::string name;
  int64_t begin_ns = 0;  ///< since the Profiler started
  int64_t end_ns = 0;
  int thread = -1;           ///< index into Profile::threads; -1: on a GPU stream
  int depth = 0;             ///< how many bars of the thread it lies in
  int device = -1;           ///< of work on a GPU stream
  int stream = -1;           ///< Stream::id() where Taper made the stream
  uint64_t correlation = 0;  ///< the same on a runtime call and on the work it set off; 0: none
  std::string op;            ///< of calls and GPU work: the innermost op around the call
  std::string inputs;        ///< dtypes and shapes, of ops
  /// Of copies and fills: what they moved. Of ops that the tape records, and of backward passes: the least
  /// they can move, each of their tensors once. Of
  /// kernels: a share of their op's, by time. 0: not known.
  int64_t bytes = 0;
  std::array<uint32_t, 3> grid{}, block{};  ///< of kernels
  int64_t shared_bytes = 0;                 ///< of kernels: dynamic shared memory
};

/// One allocation, or one block given back.
struct MemorySample {
  int64_t time_ns = 0;
  int thread = 0;
  Device device;
  int64_t delta_bytes = 0;      ///< negative: given back
  int64_t allocated_bytes = 0;  ///< on the device after it, in live blocks
  int64_t reserved_bytes = 0;   ///< live and cached
  std::string op;
};

struct Profile {
  std::vector<ProfileSpan> spans;    ///< thread by thread, then stream by stream; outer bars before inner
  std::vector<MemorySample> memory;  ///< in order of time
  std::vector<std::string> threads;  ///< their names
  std::vector<std::string> devices;  ///< names of the GPUs, by index; empty where one did nothing
  int64_t duration_ns = 0;
  int64_t dropped = 0;             ///< events beyond ProfilerOptions::max_events
  AlgorithmStatistics algorithms;  ///< of algorithm_cache(), while it was recorded
  std::string note;                ///< why kernels are missing; empty if they are not
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
  static bool is_recording() {
    return (detail::op_listeners.load(std::memory_order_relaxed) & detail::kProfiler) != 0;
  }

 private:
  uint64_t end_recording();

  int64_t start_ns_ = 0;
  std::string note_;
  AlgorithmStatistics algorithms_before_;
  bool recording_ = false;
};

/// Names this thread in profiles and debuggers (which show the first 15 characters).
void set_thread_name(std::string name);

}  // namespace taper
