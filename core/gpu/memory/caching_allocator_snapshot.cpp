// Looking inside: the snapshot of blocks, and the history of what happened to them.

#include <algorithm>

#include "taper/core/gpu/memory/caching_allocator.h"

namespace taper::gpu {
namespace {

std::string_view name_of(detail::BlockState state) {
  switch (state) {
    case detail::BlockState::kAllocated:
      return "active_allocated";
    case detail::BlockState::kPendingFree:
      return "active_pending_free";
    case detail::BlockState::kFree:
      return "inactive";
  }
  return "";
}

}  // namespace

void CachingAllocator::record_history(size_t max_events) {
  const std::lock_guard lock(mutex_);
  trace_.set_capacity(max_events);
}

void CachingAllocator::trace_event(TraceAction action, const void* begin, size_t size_bytes,
                                   const Stream& stream, std::string_view op) {
  const std::chrono::nanoseconds time = std::chrono::steady_clock::now() - start_;
  trace_.add({.action = action,
              .address = reinterpret_cast<uintptr_t>(begin),
              .size_bytes = size_bytes,
              .stream = stream.id(),
              .op = op,
              .time_ns = time.count(),
              .allocated_bytes = stats_.all.allocated_bytes.current,
              .reserved_bytes = stats_.all.reserved_bytes.current});
}

MemorySnapshot CachingAllocator::snapshot() const {
  const size_t total_bytes = memory_info(device_).total_bytes;
  const std::lock_guard lock(mutex_);
  MemorySnapshot snapshot{.device = device_,
                          .total_bytes = total_bytes,
                          .stats = stats_,
                          .segments = {},
                          .trace = trace_.events()};
  for (const auto& [begin, first] : blocks_) {
    if (first.previous != nullptr) continue;
    SegmentSnapshot segment{.address = reinterpret_cast<uintptr_t>(begin),
                            .size_bytes = 0,
                            .stream = first.stream.id(),
                            .small = first.pool->is_small(),
                            .pool_id = first.pool->private_id(),
                            .blocks = {}};
    for (const Block* block = &first; block != nullptr; block = block->next) {
      const bool free = block->state == detail::BlockState::kFree;
      segment.size_bytes += block->size_bytes;
      segment.blocks.push_back({.address = reinterpret_cast<uintptr_t>(block->begin),
                                .size_bytes = block->size_bytes,
                                .requested_bytes = free ? 0 : block->requested_bytes,
                                .state = name_of(block->state),
                                .op = free ? std::string_view() : block->op});
    }
    snapshot.segments.push_back(std::move(segment));
  }
  std::sort(snapshot.segments.begin(), snapshot.segments.end(),
            [](const auto& a, const auto& b) { return a.address < b.address; });
  return snapshot;
}

}  // namespace taper::gpu
