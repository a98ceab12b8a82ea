// Memory from the runtime: what is tried when no free block fits, and in which order.

#include <algorithm>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/error.h"
#include "taper/core/gpu/memory/caching_allocator.h"

namespace taper::gpu {

using detail::BlockState;

// From cheap to expensive: new memory; a cached segment of another stream, which this stream then waits for;
// blocks that were given back, once the host has waited for their events; last, all cached segments go back
// so that the runtime can make one from their memory.
detail::Block& CachingAllocator::find_memory(const Request& request) {
  const size_t usual = detail::segment_size(request.size_bytes);
  if (Block* block = new_segment(request, usual)) return *block;
  if (!captures_.empty()) out_of_memory(request);  // a capture forbids everything below
  if (Block* block = adopt_segment(request)) return *block;
  wait_for_events();
  if (Block* block = request.pool.best_fit(request.stream, request.size_bytes, max_split_bytes_))
    return *block;
  ++stats_.num_alloc_retries;
  release_cached_segments();
  if (Block* block = new_segment(request, usual)) return *block;
  // The request may fit where the usual segment does not.
  const size_t least = round_up(request.size_bytes, detail::kLargeMultiple);
  if (least < usual)
    if (Block* block = new_segment(request, least)) return *block;
  out_of_memory(request);
}

// Returns null if the runtime or the limit refuses.
detail::Block* CachingAllocator::new_segment(const Request& request, size_t size_bytes) {
  const auto reserved = size_t(stats_.all.reserved_bytes.current);
  if (size_bytes > limit_bytes_ || reserved > limit_bytes_ - size_bytes) return nullptr;
  std::byte* begin = nullptr;
  try {
    begin = static_cast<std::byte*>(gpu::allocate(size_bytes, device_));
  } catch (const OutOfMemoryError&) {
    return nullptr;
  }
  const auto [entry, is_new] = blocks_.try_emplace(begin, begin, size_bytes, request.stream, request.pool);
  Block& block = entry->second;
  if (const uint64_t id = request.pool.private_id()) ++private_pools_.at(id).segments;
  ++stats_.num_device_alloc;
  count_up(request.pool, &PoolStats::segment, 1);
  count_up(request.pool, &PoolStats::reserved_bytes, size_bytes);
  add_free(block);
  trace(TraceAction::kSegmentAlloc, block, size_bytes);
  // Not for a graph's memory: each replay would poison what other graphs keep in the segment.
  if (request.pool.private_id() == 0) tell_simulator(block, annotate_freed);
  return &block;
}

// Takes the smallest fitting segment that another stream left whole. The new owner waits for that stream's
// work on the device. That is cheaper than giving the segment back, which waits for everything, on the host.
detail::Block* CachingAllocator::adopt_segment(const Request& request) {
  Block* best = nullptr;
  request.pool.for_each_whole_segment([&](Block& block) {
    if (!BlockPool::may_serve(block, request.size_bytes, max_split_bytes_)) return;
    if (best == nullptr || block.size_bytes < best->size_bytes) best = &block;
  });
  if (best == nullptr || is_capturing(best->stream) || is_capturing(request.stream)) return nullptr;
  Event left;
  left.record(best->stream);
  request.stream.wait(left);
  request.pool.remove(*best);
  best->stream = request.stream;
  request.pool.add(*best);
  return best;
}

void CachingAllocator::empty_cache() {
  const std::lock_guard lock(mutex_);
  TAPER_CHECK(captures_.empty(), "empty_cache: a graph is being captured on cuda:{}; end the capture first",
              device_);
  wait_for_events();
  release_cached_segments();
}

void CachingAllocator::release_cached_segments() {
  std::vector<Block*> cached;
  auto collect = [&](const PoolPair& pools) {
    pools.small.for_each_whole_segment([&](Block& block) { cached.push_back(&block); });
    pools.large.for_each_whole_segment([&](Block& block) { cached.push_back(&block); });
  };
  collect(open_pool_);
  for (const auto& [id, pools] : private_pools_)
    if (pools.released) collect(pools);
  for (Block* block : cached) release_segment(*block);
  std::erase_if(private_pools_,
                [](const auto& entry) { return entry.second.released && entry.second.segments == 0; });
}

void CachingAllocator::release_segment(Block& block) {
  gpu::deallocate(block.begin, device_);  // first: it throws if the device's work failed
  remove_free(block);
  if (const uint64_t id = block.pool->private_id()) --private_pools_.at(id).segments;
  ++stats_.num_device_free;
  count_down(*block.pool, &PoolStats::segment, 1);
  count_down(*block.pool, &PoolStats::reserved_bytes, block.size_bytes);
  trace(TraceAction::kSegmentFree, block, block.size_bytes);
  blocks_.erase(block.begin);
}

void CachingAllocator::set_memory_fraction(double fraction) {
  TAPER_CHECK(fraction > 0 && fraction <= 1, "set_memory_fraction: {} is not in (0, 1]", fraction);
  const size_t total_bytes = memory_info(device_).total_bytes;
  const std::lock_guard lock(mutex_);
  limit_bytes_ = fraction == 1 ? SIZE_MAX : size_t(double(total_bytes) * fraction);
}

void CachingAllocator::set_max_split_size(size_t size_bytes) {
  TAPER_CHECK(size_bytes >= detail::kMediumSegment,
              "set_max_split_size: {} bytes; at least 20 MiB ({} bytes), the size of a shared segment",
              size_bytes, detail::kMediumSegment);
  const std::lock_guard lock(mutex_);
  max_split_bytes_ = size_bytes;
}

}  // namespace taper::gpu
