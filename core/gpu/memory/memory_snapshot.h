#pragma once
// What the caching allocators hold, block by block, and what happened to those blocks: for tests, for reports
// (nn/report/memory_report.h), and for reading when memory ran out.
//
// The JSON has PyTorch's names (torch.cuda.memory._snapshot). The op that asked for a block stands in place
// of stack frames.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "taper/core/gpu/memory/caching_allocator_stats.h"

namespace taper::gpu {

/// A piece of a segment.
struct BlockSnapshot {
  uintptr_t address = 0;
  size_t size_bytes = 0;
  size_t requested_bytes = 0;  ///< 0 unless allocated or pending
  std::string_view state;      ///< "active_allocated", "active_pending_free" or "inactive"
  std::string_view op;         ///< the op that asked for it; empty if unknown or inactive
};

/// Memory the runtime gave in one piece. Its blocks, in order of address, leave no gap.
struct SegmentSnapshot {
  uintptr_t address = 0;
  size_t size_bytes = 0;
  int stream = 0;
  bool small = false;
  uint64_t pool_id = 0;  ///< 0, or the private pool that owns it
  std::vector<BlockSnapshot> blocks;
};

enum class TraceAction : uint8_t {
  kAlloc,          ///< a block was handed out
  kFreeRequested,  ///< its owner gave it back
  kFreeCompleted,  ///< no stream uses it any more
  kSegmentAlloc,   ///< memory came from the runtime
  kSegmentFree,    ///< memory went back to the runtime
  kOom,            ///< a request failed
};

/// Returns PyTorch's name: "alloc", "free_requested", ...
std::string_view name_of(TraceAction action);

struct TraceEvent {
  TraceAction action = TraceAction::kAlloc;
  uintptr_t address = 0;  ///< 0 for kOom
  size_t size_bytes = 0;  ///< as asked for (kAlloc, kOom), else of the block or segment
  int stream = 0;
  std::string_view op;
  int64_t time_ns = 0;          ///< since the allocator was made
  int64_t allocated_bytes = 0;  ///< after the event
  int64_t reserved_bytes = 0;
};

struct MemorySnapshot {
  int device = 0;
  size_t total_bytes = 0;  ///< the device's memory
  CachingAllocatorStats stats;
  std::vector<SegmentSnapshot> segments;  ///< by address
  std::vector<TraceEvent> trace;          ///< oldest first; see CachingAllocator::record_history
};

/// Returns {"devices": [{"device", "total_memory", "stats": {...}, "segments": [...], "trace": [...]}]}.
std::string to_json(std::span<const MemorySnapshot> snapshots);

/// The last events of an allocator, in a ring of fixed size. Not thread-safe.
class TraceBuffer {
 public:
  /// Forgets everything and keeps the last `max_events` from now on; 0 keeps none.
  void set_capacity(size_t max_events);
  bool enabled() const { return capacity_ > 0; }
  void add(const TraceEvent& event);
  /// Returns the events, oldest first.
  std::vector<TraceEvent> events() const;

 private:
  size_t capacity_ = 0;
  size_t oldest_ = 0;  // valid once the ring is full
  std::vector<TraceEvent> ring_;
};

}  // namespace taper::gpu
