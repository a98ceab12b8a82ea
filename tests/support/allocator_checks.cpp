#include "tests/support/allocator_checks.h"

#include <catch2/catch.hpp>

namespace taper::test {
namespace {

struct Counted {
  int64_t allocation = 0, segment = 0, active = 0, inactive_split = 0;
  int64_t allocated_bytes = 0, reserved_bytes = 0, active_bytes = 0, inactive_split_bytes = 0;
  int64_t requested_bytes = 0;
  bool operator==(const Counted&) const = default;

  void add(const Counted& other) {
    allocation += other.allocation;
    segment += other.segment;
    active += other.active;
    inactive_split += other.inactive_split;
    allocated_bytes += other.allocated_bytes;
    reserved_bytes += other.reserved_bytes;
    active_bytes += other.active_bytes;
    inactive_split_bytes += other.inactive_split_bytes;
    requested_bytes += other.requested_bytes;
  }
};

Counted current(const gpu::PoolStats& stats) {
  for (const gpu::Stat& stat :
       {stats.allocation, stats.segment, stats.active, stats.inactive_split, stats.allocated_bytes,
        stats.reserved_bytes, stats.active_bytes, stats.inactive_split_bytes, stats.requested_bytes}) {
    if (stat.allocated - stat.freed != stat.current || stat.peak < stat.current || stat.current < 0)
      FAIL("a statistic contradicts itself: current " << stat.current << ", peak " << stat.peak
                                                      << ", allocated " << stat.allocated << ", freed "
                                                      << stat.freed);
  }
  return {stats.allocation.current,      stats.segment.current,
          stats.active.current,          stats.inactive_split.current,
          stats.allocated_bytes.current, stats.reserved_bytes.current,
          stats.active_bytes.current,    stats.inactive_split_bytes.current,
          stats.requested_bytes.current};
}

Counted count(const gpu::SegmentSnapshot& segment) {
  Counted counted{.segment = 1, .reserved_bytes = static_cast<int64_t>(segment.size_bytes)};
  for (const gpu::BlockSnapshot& block : segment.blocks) {
    const auto bytes = static_cast<int64_t>(block.size_bytes);
    if (block.state == "inactive") {
      if (segment.blocks.size() == 1) continue;
      ++counted.inactive_split;
      counted.inactive_split_bytes += bytes;
      continue;
    }
    ++counted.active;
    counted.active_bytes += bytes;
    if (block.state != "active_allocated") continue;
    ++counted.allocation;
    counted.allocated_bytes += bytes;
    counted.requested_bytes += static_cast<int64_t>(block.requested_bytes);
  }
  return counted;
}

}  // namespace

void check_allocator(const gpu::CachingAllocator& allocator, const LiveBlocks& live) {
  const gpu::MemorySnapshot snapshot = allocator.snapshot();
  Counted all, small_pool, large_pool;
  LiveBlocks handed_out;
  uintptr_t last_end = 0;
  for (const gpu::SegmentSnapshot& segment : snapshot.segments) {
    if (segment.address < last_end) FAIL("two segments overlap at " << segment.address);
    last_end = segment.address + segment.size_bytes;
    uintptr_t at = segment.address;
    bool free_before = false;
    for (const gpu::BlockSnapshot& block : segment.blocks) {
      if (block.address != at) FAIL("blocks leave a gap or overlap at " << at);
      if (block.size_bytes == 0 || block.size_bytes % 512 != 0) FAIL("a block has " << block.size_bytes);
      if (block.requested_bytes > block.size_bytes) FAIL("a block is smaller than what was asked for");
      const bool free = block.state == "inactive";
      if (free && free_before) FAIL("two free neighbours at " << at << " are not merged");
      if (block.state == "active_allocated") handed_out[block.address] = block.requested_bytes;
      free_before = free;
      at += block.size_bytes;
    }
    if (at != last_end)
      FAIL("the blocks of a segment have " << at - segment.address << " bytes, it has "
                                           << segment.size_bytes);
    const Counted counted = count(segment);
    all.add(counted);
    (segment.small ? small_pool : large_pool).add(counted);
  }
  if (handed_out != live)
    FAIL("the snapshot has " << handed_out.size() << " live blocks, other ones than the " << live.size()
                             << " handed out");
  CHECK(current(snapshot.stats.all) == all);
  CHECK(current(snapshot.stats.small_pool) == small_pool);
  CHECK(current(snapshot.stats.large_pool) == large_pool);
}

void check_all_merged(const gpu::CachingAllocator& allocator) {
  for (const gpu::SegmentSnapshot& segment : allocator.snapshot().segments) {
    REQUIRE(segment.blocks.size() == 1);
    REQUIRE(segment.blocks[0].state == "inactive");
  }
}

}  // namespace taper::test
