#pragma once
// What a caching allocator counts, under PyTorch's names (torch.cuda.memory_stats).

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "taper/core/base/allocator.h"

namespace taper::gpu {

/// One quantity over time.
struct Stat {
  int64_t current = 0;
  int64_t peak = 0;       ///< the largest `current` since reset_peak()
  int64_t allocated = 0;  ///< sum of all increases
  int64_t freed = 0;      ///< sum of all decreases

  void increase(int64_t amount) {
    current += amount;
    peak = std::max(peak, current);
    allocated += amount;
  }
  void decrease(int64_t amount) {
    current -= amount;
    freed += amount;
  }
};

/// The quantities of one pool. Bytes count whole blocks, rounding included, except requested_bytes.
struct PoolStats {
  Stat allocation;            ///< blocks in live storages
  Stat segment;               ///< pieces of memory got from the runtime
  Stat active;                ///< blocks in live storages, or freed but still used by another stream
  Stat inactive_split;        ///< free blocks that cannot go back to the runtime: a neighbour is in use
  Stat allocated_bytes;       ///< of `allocation`
  Stat reserved_bytes;        ///< of `segment`
  Stat active_bytes;          ///< of `active`
  Stat inactive_split_bytes;  ///< of `inactive_split`
  Stat requested_bytes;       ///< what callers asked for, before rounding
};

struct CachingAllocatorStats {
  PoolStats all;
  PoolStats small_pool;
  PoolStats large_pool;
  int64_t num_alloc_retries = 0;  ///< the runtime had no memory, and cached blocks were given up to try again
  int64_t num_ooms = 0;           ///< OutOfMemoryErrors thrown
  int64_t num_device_alloc = 0;   ///< segments got from the runtime
  int64_t num_device_free = 0;    ///< segments given back
};

/// Every number with PyTorch's name for it: {"allocated_bytes.all.current", 1536}, ..., {"num_ooms", 0}.
std::vector<std::pair<std::string, int64_t>> named_values(const CachingAllocatorStats& stats);

/// The few that every allocator counts.
MemoryStats summary(const CachingAllocatorStats& stats);

/// Makes every peak equal to the current value.
void reset_peaks(CachingAllocatorStats& stats);

}  // namespace taper::gpu
