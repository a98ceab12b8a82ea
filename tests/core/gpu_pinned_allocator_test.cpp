// The cache of pinned host memory.

#include "taper/core/gpu/memory/pinned_allocator.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "taper/core/base/error.h"
#include "taper/core/gpu/memory/caching_allocator.h"
#include "tests/support/allocator_checks.h"

using namespace taper;
using Catch::Contains;
using test::address;

namespace {
constexpr size_t kMiB = size_t{1} << 20;
}  // namespace

TEST_CASE("pinned memory is kept by size") {
  gpu::PinnedAllocator allocator;
  void* const a = allocator.allocate(5000);
  void* const b = allocator.allocate(8192);
  REQUIRE(gpu::is_pinned(a));
  REQUIRE(allocator.stats().allocated_bytes == 2 * 8192);
  REQUIRE(allocator.memory_stats().all.requested_bytes.current == 5000 + 8192);
  std::memset(a, 1, 5000);
  allocator.deallocate(a, 5000);
  REQUIRE(allocator.allocate(100) != a);  // another size: 4096
  REQUIRE(allocator.allocate(4097) == a);
  REQUIRE(allocator.stats().reserved_bytes == 2 * 8192 + 4096);
  allocator.deallocate(a, 4097);
  allocator.deallocate(b, 8192);
  allocator.empty_cache();
  REQUIRE(allocator.stats().reserved_bytes == 4096);
  REQUIRE(allocator.stats().peak_reserved_bytes == 2 * 8192 + 4096);
  REQUIRE(allocator.allocate(0) == nullptr);
  REQUIRE_THROWS_WITH(allocator.record_stream(&allocator, gpu::default_stream()),
                      Contains("not in a live block"));
  REQUIRE_FALSE(allocator.owns(&allocator));
}

TEST_CASE("a pinned block waits for its copies") {
  gpu::PinnedAllocator allocator;
  gpu::CachingAllocator device_allocator(0);
  const gpu::Stream stream = gpu::stream_from_pool();
  constexpr size_t kBytes = kMiB;
  void* const on_device = device_allocator.allocate(2 * kBytes, stream);
  auto* const staged = static_cast<uint8_t*>(allocator.allocate(kBytes));
  std::memset(staged, 5, kBytes);
  gpu::copy_async(on_device, staged, kBytes, gpu::CopyKind::kHostToDevice, stream);
  REQUIRE(allocator.owns(staged + kBytes - 1));
  allocator.record_stream(staged + 100, stream);  // a view into the block will do
  allocator.deallocate(staged, kBytes);
  REQUIRE(allocator.stats().allocated_bytes == 0);
  auto* const next = static_cast<uint8_t*>(allocator.allocate(kBytes));
  std::memset(next, 6, kBytes);  // would change what the copy reads, were it the same block too early
  gpu::copy_async(next, on_device, kBytes, gpu::CopyKind::kDeviceToHost, stream);
  stream.synchronize();
  REQUIRE(std::count(next, next + kBytes, 5) == int64_t(kBytes));
  allocator.deallocate(next, kBytes);
  allocator.empty_cache();
  REQUIRE(allocator.stats().reserved_bytes == 0);
}
