#include "taper/core/storage.h"

#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/core/gpu/memory/pinned_allocator.h"

namespace taper {

Allocator& allocator_for(Device device) {
  return device.is_cpu() ? cpu_allocator() : gpu::caching_allocator(device.index);
}

void gpu::record_stream(const Storage& storage, Stream stream) {
  if (storage.device().is_cpu()) {
    if (pinned_allocator().owns(storage.data())) pinned_allocator().record_stream(storage.data(), stream);
    return;
  }
  CachingAllocator& allocator = caching_allocator(storage.device().index);
  if (storage.allocator() == &allocator) allocator.record_stream(storage.data(), stream);
}

}  // namespace taper
