// Fuzz targets link the parsers and little else, so that they build in a minute. This stands for the rest:
// tensors from files are on the CPU and contiguous as they are, nobody listens to ops, and there is no GPU.

#include <cstdlib>

#include "taper/core/gpu/caching_allocator.h"
#include "taper/core/gpu/pinned_allocator.h"
#include "taper/core/op_scope.h"
#include "taper/core/profile_events.h"
#include "taper/ops/copy/copy.h"

namespace taper {

namespace ops {
Tensor contiguous(const Tensor& x, MemoryFormat) {
  return x;
}
Tensor to_device(const Tensor& x, Device, bool) {
  return x;
}
}  // namespace ops

namespace detail {
unsigned op_begins(std::string_view, SpanKind) {
  return 0;
}
void op_ends(unsigned) noexcept {}
void record_memory(Device, int64_t, int64_t, int64_t) {}
}  // namespace detail

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
