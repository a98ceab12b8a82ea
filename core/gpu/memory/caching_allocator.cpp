// Handing out blocks and taking them back. Where the memory comes from: caching_allocator_segments.cpp.

#include "taper/core/gpu/memory/caching_allocator.h"

#include <array>
#include <atomic>

#include "taper/core/base/error.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/base/profile_events.h"
#include "taper/core/gpu/device_loss.h"
#include "taper/core/gpu/stream_access.h"

namespace taper::gpu {

using detail::BlockState;

CachingAllocator::CachingAllocator(int device) : device_(device) {
  detail::check_device("CachingAllocator", device);
}

CachingAllocator::~CachingAllocator() {
  for (auto& [begin, block] : blocks_) {
    try {
      if (block.previous == nullptr) gpu::deallocate(block.begin, device_);
    } catch (const Error&) {  // the device is lost, and its memory with it
    }
  }
}

void* CachingAllocator::allocate(size_t size_bytes) {
  return allocate(size_bytes, current_stream(device_));
}

void* CachingAllocator::allocate(size_t size_bytes, Stream stream) {
  TAPER_CHECK(stream.device() == device_, "allocate: stream {} of cuda:{} cannot own memory of cuda:{}",
              stream.id(), stream.device(), device_);
  if (size_bytes == 0) return nullptr;
  detail::refuse_if_forked();
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  process_events();
  // No real request is as large as 2^62; the bound keeps the rounding from overflowing.
  const size_t block_bytes = detail::block_size(std::min(size_bytes, size_t{1} << 62));
  const Request request{size_bytes, block_bytes, stream, pool_for(block_bytes, stream)};
  if (requests_until_failure_ > 0 && --requests_until_failure_ == 0) out_of_memory(request);
  Block* free = request.pool.best_fit(stream, block_bytes, max_split_bytes_);
  Block& block = free != nullptr ? *free : find_memory(request);
  hand_out(block, request);
  return block.begin;
}

void CachingAllocator::fail_request(int n) {
  TAPER_CHECK(n >= 0, "fail_request: n is {}; 1 is the next request", n);
  const std::lock_guard lock(mutex_);
  requests_until_failure_ = n;
}

void CachingAllocator::hand_out(Block& block, const Request& request) {
  const bool divide = request.pool.should_split(block, request.size_bytes, max_split_bytes_);
  remove_free(block);
  if (divide) split(block, request.size_bytes);
  block.state = BlockState::kAllocated;
  block.requested_bytes = request.requested_bytes;
  block.op = OpScope::current();
  tell_simulator(block, annotate_allocated);
  count_up(request.pool, &PoolStats::allocation, 1);
  count_up(request.pool, &PoolStats::allocated_bytes, block.size_bytes);
  count_up(request.pool, &PoolStats::requested_bytes, block.requested_bytes);
  count_up(request.pool, &PoolStats::active, 1);
  count_up(request.pool, &PoolStats::active_bytes, block.size_bytes);
  trace(TraceAction::kAlloc, block, block.requested_bytes);
  tell_profiler(int64_t(block.size_bytes));
}

// Shrinks `block` to its first `size_bytes`; the rest becomes a free block.
void CachingAllocator::split(Block& block, size_t size_bytes) {
  std::byte* const begin = block.begin + size_bytes;
  const auto [entry, is_new] =
      blocks_.try_emplace(begin, begin, block.size_bytes - size_bytes, block.stream, *block.pool);
  Block& rest = entry->second;
  rest.previous = &block;
  rest.next = block.next;
  if (rest.next != nullptr) rest.next->previous = &rest;
  block.next = &rest;
  block.size_bytes = size_bytes;
  add_free(rest);
}

void CachingAllocator::deallocate(void* device_ptr, size_t) noexcept {
  if (device_ptr == nullptr || detail::is_forked()) return;
  const std::lock_guard lock(mutex_);
  Block& block = live_block("deallocate", device_ptr);
  block.state = BlockState::kPendingFree;
  count_down(*block.pool, &PoolStats::allocation, 1);
  count_down(*block.pool, &PoolStats::allocated_bytes, block.size_bytes);
  count_down(*block.pool, &PoolStats::requested_bytes, block.requested_bytes);
  trace(TraceAction::kFreeRequested, block, block.size_bytes);
  tell_profiler(-int64_t(block.size_bytes));
  try {
    if (block.used_on.empty() || is_lost(device_))
      make_free(block);
    else
      free_when_unused(block);
  } catch (...) {  // work on the device failed; the message says whose
    if (!failure_) failure_ = std::current_exception();
  }
}

// Puts `block` back into its pool, merged with free neighbours.
void CachingAllocator::make_free(Block& block) {
  count_down(*block.pool, &PoolStats::active, 1);
  count_down(*block.pool, &PoolStats::active_bytes, block.size_bytes);
  trace(TraceAction::kFreeCompleted, block, block.size_bytes);
  tell_simulator(block, annotate_freed);
  block.state = BlockState::kFree;
  Block* whole = &block;
  if (Block* before = block.previous; before != nullptr && before->state == BlockState::kFree) {
    remove_free(*before);
    absorb(*before, &block);
    whole = before;
  }
  if (Block* after = whole->next; after != nullptr && after->state == BlockState::kFree) {
    remove_free(*after);
    absorb(*whole, after);
  }
  add_free(*whole);
}

// Merges `neighbour`, the next block, into `block`.
void CachingAllocator::absorb(Block& block, Block* neighbour) {
  block.size_bytes += neighbour->size_bytes;
  block.next = neighbour->next;
  if (block.next != nullptr) block.next->previous = &block;
  blocks_.erase(neighbour->begin);
}

void CachingAllocator::add_free(Block& block) {
  block.pool->add(block);
  if (!block.is_split()) return;
  count_up(*block.pool, &PoolStats::inactive_split, 1);
  count_up(*block.pool, &PoolStats::inactive_split_bytes, block.size_bytes);
}

void CachingAllocator::remove_free(Block& block) {
  block.pool->remove(block);
  if (!block.is_split()) return;
  count_down(*block.pool, &PoolStats::inactive_split, 1);
  count_down(*block.pool, &PoolStats::inactive_split_bytes, block.size_bytes);
}

// The simulated GPU poisons free memory in stream order. For memory of a graph, the poisoning is part of the
// graph and runs at each replay. For other memory it must not become part of a graph.
void CachingAllocator::tell_simulator(const Block& block, void (*annotate)(void*, size_t, Stream)) {
  const bool belongs_to_graph = block.pool->private_id() != 0;
  const bool in_graph = !captures_.empty() && is_capturing(block.stream);
  if (belongs_to_graph == in_graph) annotate(block.begin, block.size_bytes, block.stream);
}

void CachingAllocator::tell_profiler(int64_t delta_bytes) const {
  taper::detail::profile_memory({kCUDA, device_}, delta_bytes, stats_.all.allocated_bytes.current,
                                stats_.all.reserved_bytes.current);
}

detail::Block& CachingAllocator::live_block(const char* call, const void* device_ptr) {
  const auto found = blocks_.find(device_ptr);
  TAPER_CHECK(found != blocks_.end() && found->second.state == BlockState::kAllocated,
              "{}: {} is not the start of a live block of cuda:{}{}", call, device_ptr, device_,
              found != blocks_.end() ? "; it was given back already" : "");
  return found->second;
}

bool CachingAllocator::owns(const void* device_ptr) const {
  const std::lock_guard lock(mutex_);
  const auto found = blocks_.find(device_ptr);
  return found != blocks_.end() && found->second.state == BlockState::kAllocated;
}

// ---------------------------------------------------------------------------------------------- counting

void CachingAllocator::count_up(const BlockPool& pool, Stat PoolStats::*stat, size_t amount) {
  (stats_.all.*stat).increase(int64_t(amount));
  // A separate reference: GCC 12 copies what ?: yields before .* is applied.
  PoolStats& kind = pool.is_small() ? stats_.small_pool : stats_.large_pool;
  (kind.*stat).increase(int64_t(amount));
}

void CachingAllocator::count_down(const BlockPool& pool, Stat PoolStats::*stat, size_t amount) {
  (stats_.all.*stat).decrease(int64_t(amount));
  PoolStats& kind = pool.is_small() ? stats_.small_pool : stats_.large_pool;
  (kind.*stat).decrease(int64_t(amount));
}

CachingAllocatorStats CachingAllocator::memory_stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

MemoryStats CachingAllocator::stats() const {
  const std::lock_guard lock(mutex_);
  return summary(stats_);
}

void CachingAllocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  reset_peaks(stats_);
}

// ------------------------------------------------------------------------------------ one for each device

namespace {

std::array<std::atomic<CachingAllocator*>, detail::kMaxDevices> allocators{};

}  // namespace

CachingAllocator& caching_allocator(int device) {
  if (device >= 0 && device < detail::kMaxDevices) {
    if (CachingAllocator* made = allocators[size_t(device)]) return *made;
  }
  detail::refuse_if_forked();
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  detail::check_device("caching_allocator", device);
  std::atomic<CachingAllocator*>& entry = allocators[size_t(device)];
  // Leaked on purpose: tensors with static lifetime may outlive any other static object.
  if (entry == nullptr) entry = new CachingAllocator(device);
  return *entry;
}

std::string memory_snapshot() {
  std::vector<MemorySnapshot> snapshots;
  for (const auto& allocator : allocators)
    if (const CachingAllocator* made = allocator) snapshots.push_back(made->snapshot());
  return to_json(snapshots);
}

}  // namespace taper::gpu
