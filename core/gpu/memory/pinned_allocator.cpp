#include "taper/core/gpu/memory/pinned_allocator.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include "taper/core/base/error.h"
#include "taper/core/gpu/device_loss.h"
#include "taper/core/gpu/memory/caching_allocator_errors.h"

namespace taper::gpu {
namespace {

constexpr size_t kPage = 4096;  // nothing smaller can be pinned

uintptr_t address_of(const void* host_ptr) {
  return reinterpret_cast<uintptr_t>(host_ptr);
}

void* pointer(uintptr_t address) {
  return reinterpret_cast<void*>(address);
}

}  // namespace

PinnedAllocator::~PinnedAllocator() {
  for (const auto& [address, block] : blocks_) {
    try {
      deallocate_pinned(pointer(address));
    } catch (const Error&) {  // the device is lost; the system takes the memory at exit
    }
  }
}

void* PinnedAllocator::allocate(size_t size_bytes) {
  if (size_bytes == 0) return nullptr;
  detail::refuse_if_forked();
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  process_events(/*wait=*/false);
  // No real request is as large as 2^62; the bound keeps bit_ceil defined.
  const size_t block_bytes = std::bit_ceil(std::clamp(size_bytes, kPage, size_t{1} << 62));
  auto& cached = free_[block_bytes];
  if (cached.empty()) cached.push_back(new_block(block_bytes));
  const auto found = cached.back();
  cached.pop_back();
  Block& block = found->second;
  block.live = true;
  block.requested_bytes = size_bytes;
  stats_.all.allocation.increase(1);
  stats_.all.allocated_bytes.increase(int64_t(block_bytes));
  stats_.all.requested_bytes.increase(int64_t(size_bytes));
  stats_.all.active.increase(1);
  stats_.all.active_bytes.increase(int64_t(block_bytes));
  return pointer(found->first);
}

PinnedAllocator::Blocks::iterator PinnedAllocator::new_block(size_t size_bytes) {
  void* host_ptr = nullptr;
  try {
    host_ptr = allocate_pinned(size_bytes);
  } catch (const OutOfMemoryError&) {
    ++stats_.num_alloc_retries;
    process_events(/*wait=*/true);
    release_cached();
    try {
      host_ptr = allocate_pinned(size_bytes);
    } catch (const OutOfMemoryError& error) {
      ++stats_.num_ooms;
      const auto held = size_t(stats_.all.reserved_bytes.current);
      fail<OutOfMemoryError>(
          "pinned memory: cannot allocate {} beyond the {} in use: {}; use fewer or smaller batches in "
          "flight",
          detail::readable_bytes(size_bytes), detail::readable_bytes(held), error.what());
    }
  }
  ++stats_.num_device_alloc;
  stats_.all.segment.increase(1);
  stats_.all.reserved_bytes.increase(int64_t(size_bytes));
  return blocks_.emplace(address_of(host_ptr), Block{.size_bytes = size_bytes, .used_on = {}}).first;
}

void PinnedAllocator::deallocate(void* host_ptr, size_t) noexcept {
  if (host_ptr == nullptr || detail::is_forked()) return;
  const std::lock_guard lock(mutex_);
  const auto found = live_block(host_ptr);
  TAPER_CHECK(found->first == address_of(host_ptr), "deallocate: {} is not the start of a pinned block",
              host_ptr);
  Block& block = found->second;
  block.live = false;
  stats_.all.allocation.decrease(1);
  stats_.all.allocated_bytes.decrease(int64_t(block.size_bytes));
  stats_.all.requested_bytes.decrease(int64_t(block.requested_bytes));
  try {
    free_when_unused(found);
  } catch (...) {
    if (!failure_) failure_ = std::current_exception();
  }
}

void PinnedAllocator::free_when_unused(Blocks::iterator found) {
  Block& block = found->second;
  // An event recorded on a capturing stream would become a node of the graph.
  if (std::any_of(block.used_on.begin(), block.used_on.end(), is_capturing)) {
    deferred_.push_back(found);
    return;
  }
  for (const Stream& stream : std::exchange(block.used_on, {})) {
    ++block.pending_events;  // first: if recording fails, the block is never handed out again
    Event event;
    event.record(stream);
    pending_.push_back({std::move(event), found});
  }
  if (block.pending_events == 0) make_free(found);
}

void PinnedAllocator::make_free(Blocks::iterator found) {
  const size_t size_bytes = found->second.size_bytes;
  stats_.all.active.decrease(1);
  stats_.all.active_bytes.decrease(int64_t(size_bytes));
  free_[size_bytes].push_back(found);
}

void PinnedAllocator::process_events(bool wait) {
  if (pending_.empty() && deferred_.empty()) return;
  if (!wait && is_capturing(current_stream())) return;  // a query would break the capture
  for (const auto& block : std::exchange(deferred_, {})) free_when_unused(block);
  // Events of different streams are reached in any order.
  for (size_t left = pending_.size(); left > 0; --left) {
    const Event& event = pending_.front().event;
    if (wait) event.synchronize();
    const bool reached = event.query();
    PendingFree first = std::move(pending_.front());
    pending_.pop_front();
    if (!reached)
      pending_.push_back(std::move(first));
    else if (--first.block->second.pending_events == 0)
      make_free(first.block);
  }
}

void PinnedAllocator::release_cached() {
  for (auto& [size_bytes, cached] : free_) {
    while (!cached.empty()) {
      deallocate_pinned(pointer(cached.back()->first));
      blocks_.erase(cached.back());
      cached.pop_back();
      ++stats_.num_device_free;
      stats_.all.segment.decrease(1);
      stats_.all.reserved_bytes.decrease(int64_t(size_bytes));
    }
  }
}

void PinnedAllocator::empty_cache() {
  const std::lock_guard lock(mutex_);
  process_events(/*wait=*/true);
  release_cached();
}

void PinnedAllocator::record_stream(const void* host_ptr, Stream stream) {
  const std::lock_guard lock(mutex_);
  auto& used_on = live_block(host_ptr)->second.used_on;
  if (std::find(used_on.begin(), used_on.end(), stream) == used_on.end()) used_on.push_back(stream);
}

PinnedAllocator::Blocks::iterator PinnedAllocator::live_block(const void* host_ptr) {
  const uintptr_t address = address_of(host_ptr);
  auto found = blocks_.upper_bound(address);
  if (found != blocks_.begin()) --found;
  TAPER_CHECK(
      found != blocks_.end() && address - found->first < found->second.size_bytes && found->second.live,
      "{} is not in a live block of pinned memory", host_ptr);
  return found;
}

bool PinnedAllocator::owns(const void* host_ptr) const {
  const std::lock_guard lock(mutex_);
  auto found = blocks_.upper_bound(address_of(host_ptr));
  if (found == blocks_.begin()) return false;
  --found;
  return address_of(host_ptr) - found->first < found->second.size_bytes && found->second.live;
}

CachingAllocatorStats PinnedAllocator::memory_stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

MemoryStats PinnedAllocator::stats() const {
  const std::lock_guard lock(mutex_);
  return summary(stats_);
}

void PinnedAllocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  reset_peaks(stats_);
}

PinnedAllocator& pinned_allocator() {
  // Leaked on purpose: tensors with static lifetime may outlive any other static object.
  static PinnedAllocator& allocator = *new PinnedAllocator;
  return allocator;
}

}  // namespace taper::gpu
