#pragma once
// The allocator of pinned (page-locked) host memory, the only kind that copies to and from the GPU run
// asynchronously with. Pinning is even slower than allocating on the device, so given-back blocks are kept,
// in lists by size, each a power of two.
//
// A copy reads or writes its block long after the call that enqueued it: tell record_stream(), and the block
// is not handed out again before the copy is done. PyTorch's counterpart: ATen/cuda/CachingHostAllocator.cpp.

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

  /// At least `size_bytes` bytes, aligned to 4096; null for 0. Contents undefined. Throws OutOfMemoryError.
  void* allocate(size_t size_bytes) override;
  /// Takes a block back; never waits. Ends the program if `host_ptr` is not the start of a live block.
  void deallocate(void* host_ptr, size_t size_bytes) noexcept override;

  /// Copies enqueued on `stream` use the block that `host_ptr` points into, at its start or further on.
  /// Throws Error if it points into no live block.
  void record_stream(const void* host_ptr, Stream stream);

  /// True if `host_ptr` points into a live block.
  bool owns(const void* host_ptr) const;

  /// Waits for the copies of blocks given back, and unpins all that is not in use.
  void empty_cache() override;

  /// Counts under `all` alone: there is one pool, and its segments are its blocks.
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

/// The one that tensors in pinned memory use; never destroyed.
PinnedAllocator& pinned_allocator();

}  // namespace taper::gpu
