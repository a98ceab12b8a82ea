#pragma once
// What a Profiler keeps of a run (core/profiler.h): bars and allocations.

#include <array>
#include <cstdint>
#include <string>

#include "taper/core/base/device.h"
#include "taper/core/base/op_scope.h"

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

}  // namespace taper
