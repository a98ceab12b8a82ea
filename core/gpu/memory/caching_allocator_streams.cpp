// Blocks that several streams use. After they are given back, they wait for events on those streams.

#include <algorithm>

#include "taper/core/base/error.h"
#include "taper/core/gpu/memory/caching_allocator.h"

namespace taper::gpu {

void CachingAllocator::record_stream(const void* device_ptr, Stream stream) {
  if (device_ptr == nullptr) return;
  const std::lock_guard lock(mutex_);
  Block& block = live_block("record_stream", device_ptr);
  if (stream == block.stream) return;  // the order of its own stream is enough
  if (std::find(block.used_on.begin(), block.used_on.end(), stream) == block.used_on.end())
    block.used_on.push_back(stream);
}

// Records events behind the work of the other streams so far. process_events frees the block when all are
// reached.
void CachingAllocator::free_when_unused(Block& block) {
  if (!captures_.empty()) {  // an event recorded now could become a node of the graph
    deferred_.push_back(&block);
    return;
  }
  for (const Stream& stream : std::exchange(block.used_on, {})) {
    // Counts before recording: if recording fails, the block is never handed out again.
    ++block.pending_events;
    if (spare_events_.empty()) spare_events_.emplace_back();
    spare_events_.back().record(stream);
    pending_[{stream.device(), stream.id()}].push_back({std::move(spare_events_.back()), &block});
    spare_events_.pop_back();
    ++pending_count_;
  }
}

void CachingAllocator::process_events() {
  if ((pending_count_ == 0 && deferred_.empty()) || !captures_.empty()) return;
  while (!deferred_.empty()) {
    Block& block = *deferred_.back();
    deferred_.pop_back();
    free_when_unused(block);
  }
  for (auto& [stream, queue] : pending_) {
    // A stream reaches its events in order.
    while (!queue.empty() && queue.front().event.query()) event_reached(queue);
  }
}

void CachingAllocator::wait_for_events() {
  process_events();
  for (auto& [stream, queue] : pending_) {
    while (!queue.empty()) {
      queue.front().event.synchronize();
      event_reached(queue);
    }
  }
}

void CachingAllocator::event_reached(std::deque<PendingFree>& queue) {
  Block& block = *queue.front().block;
  spare_events_.push_back(std::move(queue.front().event));
  queue.pop_front();
  --pending_count_;
  if (--block.pending_events == 0) make_free(block);
}

}  // namespace taper::gpu
