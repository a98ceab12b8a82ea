#pragma once
// The caching allocator's records: blocks, and the lists of free ones. For its own files only.
//
// A segment is memory that the runtime gave in one piece; blocks divide it without gaps. Neighbouring blocks
// of a segment are linked. Two free neighbours are always merged, so a free block without neighbours is a
// whole segment.

#include <cstddef>
#include <cstdint>
#include <set>
#include <string_view>
#include <tuple>
#include <vector>

#include "taper/core/base/ceil_div.h"
#include "taper/core/gpu/runtime.h"

namespace taper::gpu::detail {

class BlockPool;

enum class BlockState : uint8_t {
  kFree,         // in its pool's list
  kAllocated,    // in a live storage
  kPendingFree,  // given back, but other streams may still use it
};

struct Block {
  Block(std::byte* begin_, size_t size_bytes_, Stream stream_, BlockPool& pool_)
      : begin(begin_), size_bytes(size_bytes_), stream(stream_), pool(&pool_) {}

  /// Returns whether neighbours keep this block from going back to the runtime.
  bool is_split() const { return previous != nullptr || next != nullptr; }

  std::byte* begin;
  size_t size_bytes;           // a multiple of kBlockMultiple
  size_t requested_bytes = 0;  // what the owner asked for
  Stream stream;               // whose work may use it without waiting
  BlockPool* pool;
  Block* previous = nullptr;  // neighbours in the segment, by address
  Block* next = nullptr;
  BlockState state = BlockState::kFree;
  std::string_view op;          // the operation that asked for it
  std::vector<Stream> used_on;  // other streams, reported by record_stream
  int pending_events = 0;       // on those streams, since it was given back
};

// As in c10/cuda/CUDACachingAllocator.cpp, so that a model needs the same memory in both frameworks.
constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kBlockMultiple = 512;        // sizes of blocks
constexpr size_t kSmallRequest = kMiB;        // the largest one served from the small pool
constexpr size_t kSmallSegment = 2 * kMiB;    // what the small pool asks the runtime for
constexpr size_t kMediumRequest = 10 * kMiB;  // larger requests get segments of their own size
constexpr size_t kMediumSegment = 20 * kMiB;  // what requests up to kMediumRequest share
constexpr size_t kLargeMultiple = 2 * kMiB;   // larger segments are a multiple of it
constexpr size_t kNoSplitLimit = SIZE_MAX;

/// Returns the size of the block that serves a request.
constexpr size_t block_size(size_t requested_bytes) {
  return round_up(requested_bytes, kBlockMultiple);
}

/// Returns the size of the segment to ask for when no free block fits.
constexpr size_t segment_size(size_t block_bytes) {
  if (block_bytes <= kSmallRequest) return kSmallSegment;
  if (block_bytes < kMediumRequest) return kMediumSegment;
  return round_up(block_bytes, kLargeMultiple);
}

/// The free blocks of one kind, small or large, each stream's in order of size.
class BlockPool {
 public:
  BlockPool(bool small, uint64_t private_id) : small_(small), private_id_(private_id) {}

  bool is_small() const { return small_; }
  /// Returns 0 for a pool open to all requests, else the number of the private pool it belongs to.
  uint64_t private_id() const { return private_id_; }

  void add(Block& block) { free_.insert(key(block)); }
  void remove(Block& block) { free_.erase(key(block)); }

  /// Returns the smallest free block of `stream` with at least `size_bytes`, lowest address first; null if
  /// there is none. A block of more than `max_split_bytes` serves only requests that are also larger, and
  /// nearly as large as the block.
  Block* best_fit(const Stream& stream, size_t size_bytes, size_t max_split_bytes) const {
    const auto found = free_.lower_bound({stream.id(), size_bytes, nullptr, nullptr});
    if (found == free_.end() || found->stream != stream.id()) return nullptr;
    return may_serve(*found->block, size_bytes, max_split_bytes) ? found->block : nullptr;
  }

  static bool may_serve(const Block& block, size_t size_bytes, size_t max_split_bytes) {
    if (block.size_bytes < size_bytes) return false;
    if (block.size_bytes < max_split_bytes) return true;
    return size_bytes >= max_split_bytes && block.size_bytes < size_bytes + kMediumSegment;
  }

  /// Returns whether the part of `block` that a request of `size_bytes` leaves over becomes its own block.
  bool should_split(const Block& block, size_t size_bytes, size_t max_split_bytes) const {
    const size_t rest = block.size_bytes - size_bytes;
    if (small_) return rest >= kBlockMultiple;
    return size_bytes < max_split_bytes && rest > kSmallRequest;
  }

  /// Calls visit(Block&) for each free block that is a whole segment; it must not change the pool.
  template <class Visit>
  void for_each_whole_segment(Visit visit) const {
    for (const Key& free : free_)
      if (!free.block->is_split()) visit(*free.block);
  }

  size_t largest_free_bytes() const {
    size_t largest = 0;
    for (const Key& free : free_) largest = std::max(largest, free.size_bytes);
    return largest;
  }

 private:
  struct Key {
    int stream;
    size_t size_bytes;
    const std::byte* begin;
    Block* block;
    bool operator<(const Key& other) const {
      return std::tie(stream, size_bytes, begin) < std::tie(other.stream, other.size_bytes, other.begin);
    }
  };
  static Key key(Block& block) { return {block.stream.id(), block.size_bytes, block.begin, &block}; }

  bool small_;
  uint64_t private_id_;
  std::set<Key> free_;
};

/// The small and the large blocks of one pool, open or private.
struct PoolPair {
  explicit PoolPair(uint64_t id) : small(true, id), large(false, id) {}
  BlockPool& for_size(size_t block_bytes) { return block_bytes <= kSmallRequest ? small : large; }

  BlockPool small;
  BlockPool large;
  int64_t segments = 0;   // not yet back with the runtime
  bool released = false;  // no graph needs it any more
};

}  // namespace taper::gpu::detail
