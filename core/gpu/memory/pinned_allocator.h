#pragma once
// The allocator of pinned (page-locked) host memory. Only copies between such memory and the GPU are
// asynchronous. Pinning is even slower than allocating on the device, so blocks that are given back are kept
// in lists, one for each power of two.
//
// A copy reads or writes its block long after the call that enqueued it. After record_stream(), the block is
// not handed out again before the copy is done. PyTorch's counterpart: ATen/cuda/CachingHostAllocator.cpp.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <vector>

#include "taper/core/base/allocator.h"
#include "taper/core/gpu/memory/caching_allocator_stats.h"
#include "taper/core/gpu/runtime.h"

namespace taper::gpu {

/// All functions may be called from any thread.
class PinnedAllocator final : public Allocator {
 public:
  PinnedAllocator() = default;
  /// Gives all memory back, blocks in use included.
  ~PinnedAllocator() override;
  PinnedAllocator(const PinnedAllocator&) = delete;
  PinnedAllocator& operator=(const PinnedAllocator&) = delete;

  /// Returns at least `size_bytes` bytes, aligned to 4096; null for 0. Contents are undefined. Throws
  /// OutOfMemoryError.
  void* allocate(size_t size_bytes) override;
  /// Takes a block back; never waits. Ends the program if `host_ptr` is not the start of a live block.
  void deallocate(void* host_ptr, size_t size_bytes) noexcept override;

  /// Keeps the block that `host_ptr` points into from being handed out again before copies on `stream` are
  /// done. Throws Error if `host_ptr` points into no live block.
  void record_stream(const void* host_ptr, Stream stream);

  /// Returns whether `host_ptr` points into a live block.
  bool owns(const void* host_ptr) const;

  /// Waits for the copies of blocks that were given back, and unpins all memory that is not in use.
  void empty_cache() override;

  /// Counts only under `all`: there is one pool, and its segments are its blocks.
  CachingAllocatorStats memory_stats() const;
  MemoryStats stats() const override;
  void reset_peak() override;

 private:
  struct Block {
    size_t size_bytes = 0;
    size_t requested_bytes = 0;
    bool live = false;
    std::vector<Stream> used_on;
    int pending_events = 0;
  };
  using Blocks = std::map<uintptr_t, Block>;
  struct PendingFree {
    Event event;
    Blocks::iterator block;
  };

  Blocks::iterator live_block(const void* host_ptr);
  Blocks::iterator new_block(size_t size_bytes);
  void free_when_unused(Blocks::iterator block);
  void make_free(Blocks::iterator block);
  void process_events(bool wait);
  void release_cached();

  mutable std::mutex mutex_;  // guards everything below
  Blocks blocks_;             // all of them, by address
  std::map<size_t, std::vector<Blocks::iterator>> free_;
  std::deque<PendingFree> pending_;
  std::vector<Blocks::iterator> deferred_;  // given back while their stream captured
  std::exception_ptr failure_;              // of deallocate, which must not throw
  CachingAllocatorStats stats_;
};

/// Returns the allocator that tensors in pinned memory use. It is never destroyed.
PinnedAllocator& pinned_allocator();

}  // namespace taper::gpu
