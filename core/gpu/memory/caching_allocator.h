#pragma once  // spine 13 (docs/0-the-spine.md)
// The allocator of device memory: keeps the memory of dead tensors for the next ones.
//
// Asking the runtime for memory takes a system call, and giving it back waits for the device; a training step
// does both some thousand times. So memory comes from the runtime in segments, which are cut into blocks for
// tensors. Blocks that are given back stay here, merged with their free neighbours. A block belongs to the
// stream that was current when it was asked for. It can be handed out again on that stream at once, while the
// GPU still works on it, because the next owner's work queues up behind. A tensor that other streams use
// needs record_stream(), or they may find another tensor's numbers in it. docs/4-caching-allocator.md tells
// the whole story. PyTorch's counterpart: c10/cuda/CUDACachingAllocator.cpp.

#include <chrono>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "taper/core/base/allocator.h"
#include "taper/core/gpu/memory/caching_allocator_blocks.h"
#include "taper/core/gpu/memory/caching_allocator_stats.h"
#include "taper/core/gpu/memory/memory_snapshot.h"
#include "taper/core/gpu/runtime.h"

namespace taper {}

namespace taper::gpu {

/// One device's allocator. All functions may be called from any thread.
class CachingAllocator final : public Allocator {
 public:
  /// Throws Error if there is no such device. Programs use caching_allocator(); tests make their own.
  explicit CachingAllocator(int device);
  /// Gives every segment back to the runtime, blocks in use included.
  ~CachingAllocator() override;
  CachingAllocator(const CachingAllocator&) = delete;
  CachingAllocator& operator=(const CachingAllocator&) = delete;

  int device() const { return device_; }

  // ---- Blocks ----

  /// Returns at least `size_bytes` bytes for work on the device's current stream, aligned to 512; null for 0.
  /// Contents are undefined. Throws OutOfMemoryError, which says who holds what and what to do about it.
  void* allocate(size_t size_bytes) override;
  void* allocate(size_t size_bytes, Stream stream);

  /// Takes a block back; never waits. Ends the program if `device_ptr` is not the start of a live block.
  void deallocate(void* device_ptr, size_t size_bytes) noexcept override;

  /// Keeps the block from being handed out again before work on `stream` is done: all that is enqueued until
  /// the block is given back. Throws Error if `device_ptr` is not the start of a live block.
  void record_stream(const void* device_ptr, Stream stream);

  /// Returns whether `device_ptr` is the start of a live block.
  bool owns(const void* device_ptr) const;

  // ---- Limits ----

  /// Gives all segments without a block in use back to the runtime. Throws Error while a graph is captured.
  void empty_cache() override;

  /// Limits what the allocator holds to this part of the device's memory, 0 < fraction <= 1. Initially 1: no
  /// limit.
  void set_memory_fraction(double fraction);

  /// Stops splitting blocks of more than this many bytes, so that large blocks stay whole for large requests.
  /// Reduces fragmentation. At least 20 MiB; initially SIZE_MAX, no cap.
  void set_max_split_size(size_t size_bytes);

  /// Makes the n-th request from now (1: the next) fail once, as if the device were full, to test what
  /// programs then do. 0 cancels.
  void fail_request(int n);

  // ---- What it holds ----

  CachingAllocatorStats memory_stats() const;
  MemoryStats stats() const override;
  void reset_peak() override;

  /// Keeps the last `max_events` allocations, frees and segments for snapshot(). 0 stops and forgets.
  void record_history(size_t max_events);

  MemorySnapshot snapshot() const;

 private:
  using Block = detail::Block;
  using BlockPool = detail::BlockPool;
  using PoolPair = detail::PoolPair;
  friend class MemoryPool;
  friend class MemoryPoolGuard;

  struct Request {
    size_t requested_bytes;
    size_t size_bytes;
    Stream stream;
    BlockPool& pool;
  };
  struct PendingFree {
    Event event;
    Block* block;
  };
  struct Capture {
    uint64_t pool_id;
    std::function<bool(Stream)> filter;
  };

  // caching_allocator.cpp: handing out and taking back
  Block& live_block(const char* call, const void* device_ptr);
  void hand_out(Block& block, const Request& request);
  void split(Block& block, size_t size_bytes);
  void make_free(Block& block);
  void absorb(Block& block, Block* neighbour);
  void add_free(Block& block);
  void remove_free(Block& block);
  void tell_simulator(const Block& block, void (*annotate)(void*, size_t, Stream));
  void tell_profiler(int64_t delta_bytes) const;
  void count_up(const BlockPool& pool, Stat PoolStats::*stat, size_t amount);
  void count_down(const BlockPool& pool, Stat PoolStats::*stat, size_t amount);

  // caching_allocator_segments.cpp: memory from the runtime, and back
  Block& find_memory(const Request& request);
  Block* new_segment(const Request& request, size_t size_bytes);
  Block* adopt_segment(const Request& request);
  void release_cached_segments();
  void release_segment(Block& block);

  // caching_allocator_errors.cpp: who holds what, and what to do about it
  [[noreturn]] void out_of_memory(const Request& request);
  std::string largest_holders() const;
  std::string way_out(const Request& request, size_t total_bytes) const;

  // caching_allocator_streams.cpp: blocks that several streams use
  void free_when_unused(Block& block);
  void process_events();
  void wait_for_events();
  void event_reached(std::deque<PendingFree>& queue);

  // caching_allocator_snapshot.cpp: what happened
  void trace(TraceAction action, const Block& block, size_t size_bytes) {
    if (trace_.enabled()) trace_event(action, block.begin, size_bytes, block.stream, block.op);
  }
  void trace_event(TraceAction action, const void* begin, size_t size_bytes, const Stream& stream,
                   std::string_view op);

  // caching_allocator_pools.cpp: memory of captured graphs
  BlockPool& pool_for(size_t block_bytes, const Stream& stream);
  uint64_t make_private_pool();
  void release_private_pool(uint64_t id);
  void begin_allocate_to_pool(uint64_t id, std::function<bool(Stream)> filter);
  void end_allocate_to_pool(uint64_t id) noexcept;

  const int device_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  mutable std::mutex mutex_;  // guards everything below

  std::unordered_map<const void*, Block> blocks_;  // all of them, by begin
  PoolPair open_pool_{0};
  std::map<uint64_t, PoolPair> private_pools_;
  uint64_t last_private_id_ = 0;
  std::vector<Capture> captures_;  // under way

  std::map<std::pair<int, int>, std::deque<PendingFree>> pending_;  // by the stream that they wait for
  size_t pending_count_ = 0;
  std::vector<Block*> deferred_;  // given back during a capture: no event can be recorded yet
  std::vector<Event> spare_events_;
  std::exception_ptr failure_;  // of deallocate, which must not throw: the next allocate throws it

  int requests_until_failure_ = 0;  // 0: no request is to fail
  size_t limit_bytes_ = SIZE_MAX;
  size_t max_split_bytes_ = detail::kNoSplitLimit;
  CachingAllocatorStats stats_;
  TraceBuffer trace_;
};

/// Returns the allocator that tensors on `device` use. It is made on first use and never destroyed. Throws
/// Error if there is no such device.
CachingAllocator& caching_allocator(int device = current_device());

/// Returns all allocators' snapshots as JSON; see memory_snapshot.h.
std::string memory_snapshot();

/// Device memory set aside for captured graphs. A graph replays with the addresses it was captured with, so
/// what it allocated must not go to anyone else while the graph lives: keep the pool as long as the graph.
/// Graphs that never run at the same time may share a pool. (torch.cuda.graph_pool_handle)
class MemoryPool {
 public:
  explicit MemoryPool(CachingAllocator& allocator = caching_allocator());
  /// Lets the pool's segments go back to the runtime once their blocks are free and memory is needed.
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// Returns the pool's number in snapshots.
  uint64_t id() const { return id_; }

 private:
  friend class MemoryPoolGuard;
  CachingAllocator& allocator_;
  uint64_t id_;
};

/// For a scope around begin_capture and end_capture: takes what is allocated for streams that `filter`
/// accepts from `pool`. No segment goes back to the runtime meanwhile.
class MemoryPoolGuard {
 public:
  explicit MemoryPoolGuard(MemoryPool& pool, std::function<bool(Stream)> filter = is_capturing);
  ~MemoryPoolGuard();
  MemoryPoolGuard(const MemoryPoolGuard&) = delete;
  MemoryPoolGuard& operator=(const MemoryPoolGuard&) = delete;

 private:
  MemoryPool& pool_;
};

}  // namespace taper::gpu
