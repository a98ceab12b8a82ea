#include "taper/core/gpu/memory/caching_allocator_stats.h"

namespace taper::gpu {
namespace {

struct NamedStat {
  const char* name;
  Stat PoolStats::*stat;
};

constexpr NamedStat kStats[] = {
    {"allocation", &PoolStats::allocation},
    {"segment", &PoolStats::segment},
    {"active", &PoolStats::active},
    {"inactive_split", &PoolStats::inactive_split},
    {"allocated_bytes", &PoolStats::allocated_bytes},
    {"reserved_bytes", &PoolStats::reserved_bytes},
    {"active_bytes", &PoolStats::active_bytes},
    {"inactive_split_bytes", &PoolStats::inactive_split_bytes},
    {"requested_bytes", &PoolStats::requested_bytes},
};

}  // namespace

std::vector<std::pair<std::string, int64_t>> named_values(const CachingAllocatorStats& stats) {
  const std::pair<const char*, const PoolStats*> pools[] = {
      {"all", &stats.all}, {"small_pool", &stats.small_pool}, {"large_pool", &stats.large_pool}};
  std::vector<std::pair<std::string, int64_t>> values;
  for (const auto& [name, member] : kStats) {
    for (const auto& [pool_name, pool] : pools) {
      const std::string prefix = std::string(name) + "." + pool_name + ".";
      const Stat& stat = pool->*member;
      values.emplace_back(prefix + "current", stat.current);
      values.emplace_back(prefix + "peak", stat.peak);
      values.emplace_back(prefix + "allocated", stat.allocated);
      values.emplace_back(prefix + "freed", stat.freed);
    }
  }
  values.emplace_back("num_alloc_retries", stats.num_alloc_retries);
  values.emplace_back("num_ooms", stats.num_ooms);
  values.emplace_back("num_device_alloc", stats.num_device_alloc);
  values.emplace_back("num_device_free", stats.num_device_free);
  return values;
}

MemoryStats summary(const CachingAllocatorStats& stats) {
  const PoolStats& all = stats.all;
  return {.allocated_bytes = all.allocated_bytes.current,
          .peak_allocated_bytes = all.allocated_bytes.peak,
          .reserved_bytes = all.reserved_bytes.current,
          .peak_reserved_bytes = all.reserved_bytes.peak,
          .allocation_count = all.allocation.allocated};
}

void reset_peaks(CachingAllocatorStats& stats) {
  for (PoolStats* pool : {&stats.all, &stats.small_pool, &stats.large_pool})
    for (const NamedStat& named : kStats) (pool->*named.stat).peak = (pool->*named.stat).current;
}

}  // namespace taper::gpu
