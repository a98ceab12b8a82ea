// Fuzz targets link the parsers and little else, so that they build in a minute. This stands for the rest:
// tensors from files are on the CPU and contiguous as they are, and there is no GPU.

#include <cstdlib>

#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/core/gpu/memory/pinned_allocator.h"
#include "taper/core/storage.h"
#include "taper/ops/copy/copy.h"

namespace taper {

namespace ops {
Tensor contiguous(const Tensor& x, MemoryFormat) {
  return x;
}
Tensor to_device(const Tensor& x, Device, bool) {
  return x;
}
Scalar item_as_scalar(const Tensor&) {
  std::abort();
}
}  // namespace ops

Allocator& allocator_for(Device) {
  return cpu_allocator();
}

namespace gpu {
void* CachingAllocator::allocate(size_t, Stream) {
  std::abort();
}
void CachingAllocator::deallocate(void*, size_t) noexcept {
  std::abort();
}
CachingAllocator& caching_allocator(int) {
  std::abort();
}
PinnedAllocator& pinned_allocator() {
  std::abort();
}
Stream default_stream(int) {
  std::abort();
}
Stream stream_from_pool(int, StreamPriority) {
  std::abort();
}
}  // namespace gpu

}  // namespace taper
