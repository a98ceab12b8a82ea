// Private pools: memory of captured graphs. (c10::cuda::CUDACachingAllocator::PrivatePool)

#include <algorithm>

#include "taper/core/base/error.h"
#include "taper/core/gpu/memory/caching_allocator.h"

namespace taper::gpu {

detail::BlockPool& CachingAllocator::pool_for(size_t block_bytes, const Stream& stream) {
  for (const Capture& capture : captures_)
    if (capture.filter(stream)) return private_pools_.at(capture.pool_id).for_size(block_bytes);
  return open_pool_.for_size(block_bytes);
}

uint64_t CachingAllocator::make_private_pool() {
  const std::lock_guard lock(mutex_);
  const uint64_t id = ++last_private_id_;
  private_pools_.try_emplace(id, id);
  return id;
}

void CachingAllocator::release_private_pool(uint64_t id) {
  const std::lock_guard lock(mutex_);
  PoolPair& pools = private_pools_.at(id);
  pools.released = true;
  if (pools.segments == 0) private_pools_.erase(id);
}

void CachingAllocator::begin_allocate_to_pool(uint64_t id, std::function<bool(Stream)> filter) {
  const std::lock_guard lock(mutex_);
  TAPER_CHECK(
      std::none_of(captures_.begin(), captures_.end(), [&](const Capture& c) { return c.pool_id == id; }),
      "MemoryPoolGuard: pool {} of cuda:{} is in use by another capture", id, device_);
  captures_.push_back({id, std::move(filter)});
}

void CachingAllocator::end_allocate_to_pool(uint64_t id) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase_if(captures_, [&](const Capture& capture) { return capture.pool_id == id; });
}

MemoryPool::MemoryPool(CachingAllocator& allocator)
    : allocator_(allocator), id_(allocator.make_private_pool()) {}

MemoryPool::~MemoryPool() {
  allocator_.release_private_pool(id_);
}

MemoryPoolGuard::MemoryPoolGuard(MemoryPool& pool, std::function<bool(Stream)> filter) : pool_(pool) {
  pool_.allocator_.begin_allocate_to_pool(pool_.id_, std::move(filter));
}

MemoryPoolGuard::~MemoryPoolGuard() {
  pool_.allocator_.end_allocate_to_pool(pool_.id_);
}

}  // namespace taper::gpu
