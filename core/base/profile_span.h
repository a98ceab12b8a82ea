#pragma once
// What a Profiler keeps of a run (core/profiler.h): bars and allocations.

#include <array>
#include <cstdint>
#include <string>

#include "taper/core/base/device.h"
#include "taper/core/base/op_scope.h"

namespace taper {

/// A bar of the timeline: from begin to end on one host thread or one GPU stream. Bars of a thread nest.
struct ProfileSpan {
  SpanKind kind = SpanKind::kOp;
  std::string name;
  int64_t begin_ns = 0;  ///< since the Profiler started
  int64_t end_ns = 0;
  int thread = -1;           ///< index into Profile::threads; -1: on a GPU stream
  int depth = 0;             ///< the number of the thread's bars that enclose it
  int device = -1;           ///< for work on a GPU stream
  int stream = -1;           ///< Stream::id() if Taper made the stream
  uint64_t correlation = 0;  ///< equal for a runtime call and the work it set off; 0: none
  std::string op;            ///< for calls and GPU work: the innermost op around the call
  std::string inputs;        ///< for ops: dtypes and shapes
  /// For copies and fills: the bytes moved. For ops that the tape records and for backward passes: the least
  /// they can move, each of their tensors once. For kernels: a share of their op's bytes, in proportion to
  /// time. 0: not known.
  int64_t bytes = 0;
  std::array<uint32_t, 3> grid{}, block{};  ///< for kernels
  int64_t shared_bytes = 0;                 ///< for kernels: dynamic shared memory
};

/// The allocation of one block, or its return.
struct MemorySample {
  int64_t time_ns = 0;
  int thread = 0;
  Device device;
  int64_t delta_bytes = 0;      ///< negative for a return
  int64_t allocated_bytes = 0;  ///< in live blocks of the device, after the event
  int64_t reserved_bytes = 0;   ///< in live and cached blocks
  std::string op;
};

}  // namespace taper
