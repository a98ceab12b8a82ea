// The caching allocators where the GPU's memory runs out, fails, or runs its streams in adverse orders: only
// the simulated GPU can be told to do so.

#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <numeric>

#include "taper/core/base/error.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/gpu/launch.h"
#include "taper/core/gpu/memory/pinned_allocator.h"
#include "taper/core/gpu/sim.h"
#include "tests/support/allocator_checks.h"
#include "tests/support/child_process.h"

using namespace taper;
using Catch::Contains;
using gpu::CachingAllocator;
using test::address;
using test::check_all_merged;
using test::check_allocator;
using test::LiveBlocks;

namespace {

constexpr size_t kMiB = size_t{1} << 20;

[[maybe_unused]] __global__ void late_write(int* data) {
  *data = 1;
}

/// A device with `free_bytes` free for a scope.
class SmallDevice {
 public:
  explicit SmallDevice(size_t free_bytes) {
    gpu::sim::set_memory_limit(gpu::sim::allocated_bytes() + free_bytes);
  }
  ~SmallDevice() { gpu::sim::reset(); }
};

std::string message_of(CachingAllocator& allocator, size_t size_bytes) {
  try {
    allocator.allocate(size_bytes);
  } catch (const OutOfMemoryError& error) {
    return error.what();
  }
  return "no error";
}

/// A block is filled on one stream, read on another, and given back before the reader ran; then the next
/// owner writes. Returns what the reader saw: 1 if all is well.
int hand_over(bool record) {
  CachingAllocator allocator(0);
  constexpr size_t kBytes = 4096;
  const gpu::Stream own = gpu::stream_from_pool(), reader = gpu::stream_from_pool();
  auto* const seen = static_cast<uint8_t*>(gpu::pinned_allocator().allocate(kBytes));
  void* const block = allocator.allocate(kBytes, own);
  gpu::fill_async(block, 1, kBytes, own);
  gpu::Event filled;
  filled.record(own);
  reader.wait(filled);
  gpu::copy_async(seen, block, kBytes, gpu::CopyKind::kDeviceToHost, reader);
  if (record) allocator.record_stream(block, reader);
  allocator.deallocate(block, kBytes);
  void* const next = allocator.allocate(kBytes, own);
  gpu::fill_async(next, 2, kBytes, own);
  own.synchronize();
  reader.synchronize();
  const int sum = std::accumulate(seen, seen + kBytes, 0);
  gpu::pinned_allocator().deallocate(seen, kBytes);
  return sum % int(kBytes) == 0 ? sum / int(kBytes) : -1;
}

/// A pinned block is filled by the host, copied to the device, and given back before the copy ran; then its
/// next owner fills it. Returns what arrived: 1 if all is well.
int send(bool record) {
  gpu::PinnedAllocator pinned;
  CachingAllocator allocator(0);
  constexpr size_t kBytes = 4096;
  const gpu::Stream stream = gpu::stream_from_pool();
  void* const device = allocator.allocate(kBytes, stream);
  void* const first = pinned.allocate(kBytes);
  std::memset(first, 1, kBytes);
  gpu::copy_async(device, first, kBytes, gpu::CopyKind::kHostToDevice, stream);
  if (record) pinned.record_stream(first, stream);
  pinned.deallocate(first, kBytes);
  std::memset(pinned.allocate(kBytes), 2, kBytes);
  uint8_t arrived = 0;
  gpu::copy_async(&arrived, device, 1, gpu::CopyKind::kDeviceToHost, stream);
  return arrived;
}

/// Returns what a captured graph computes in its second replay while other tensors come and go.
int replay(bool private_pool) {
  CachingAllocator allocator(0);
  gpu::MemoryPool pool(allocator);
  const gpu::Stream stream = gpu::stream_from_pool();
  constexpr size_t kBytes = 4096;
  void* output = nullptr;
  gpu::Graph graph;
  auto capture = [&] {
    gpu::begin_capture(stream);
    void* const scratch = allocator.allocate(kBytes, stream);
    gpu::fill_async(scratch, 1, kBytes, stream);
    output = allocator.allocate(kBytes, stream);
    gpu::copy_async(output, scratch, kBytes, gpu::CopyKind::kDeviceToDevice, stream);
    allocator.deallocate(scratch, kBytes);
    graph = gpu::end_capture(stream);
  };
  if (private_pool) {
    const gpu::MemoryPoolGuard guard(pool);
    capture();
  } else {
    capture();
  }
  graph.replay(stream);
  void* const other = allocator.allocate(kBytes, stream);  // the graph's scratch memory, without the pool
  gpu::fill_async(other, 3, kBytes, stream);
  graph.replay(stream);
  uint8_t kept = 0;
  gpu::copy_async(&kept, other, 1, gpu::CopyKind::kDeviceToHost, stream);
  return kept;
}

}  // namespace

TEST_CASE("with record_stream every stream order is right, without it some are wrong") {
  int wrong = 0;
  gpu::sim::set_annotations(false);  // errors must not show as poison, but as the next owner's numbers
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    gpu::sim::set_schedule_seed(seed);
    CAPTURE(seed);
    if (const int seen = hand_over(true); seen != 1) REQUIRE(seen == 1);
    wrong += hand_over(false) == 2;
  }
  CHECK(wrong > 0);
  gpu::sim::reset();
}

#if defined(__SANITIZE_ADDRESS__)
TEST_CASE("AddressSanitizer reports the missing record_stream") {
  const test::ChildResult child = test::run_in_child([] {
    gpu::sim::reset();  // a child has no GPU otherwise
    for (uint64_t seed = 1; seed <= 50; ++seed) {
      gpu::sim::set_schedule_seed(seed);
      hand_over(false);
    }
  });
  CHECK_THAT(child.stderr_text, Contains("use-after-poison") && Contains("hand_over"));
}
#endif

TEST_CASE("a pinned block without record_stream loses what it carried") {
  CHECK(send(true) == 1);
  CHECK(send(false) == 2);
}

TEST_CASE("a graph without a pool of its own overwrites others") {
  CHECK(replay(true) == 3);
  gpu::sim::set_annotations(false);
  CHECK(replay(false) == 1);
  gpu::sim::reset();
}

TEST_CASE("memory that was given back is poison") {
  CachingAllocator allocator(0);
  const gpu::Stream stream = gpu::stream_from_pool();
  uint8_t seen[2] = {};
  void* const block = allocator.allocate(512, stream);
  gpu::fill_async(block, 1, 512, stream);
  gpu::copy_async(&seen[0], block, 1, gpu::CopyKind::kDeviceToHost, stream);
  allocator.deallocate(block, 512);
  REQUIRE(allocator.allocate(512, stream) == block);
  gpu::copy_async(&seen[1], block, 1, gpu::CopyKind::kDeviceToHost, stream);
  REQUIRE(seen[0] == 1);
  REQUIRE(seen[1] == 0xff);
}

TEST_CASE("cached segments go back before a request fails") {
  const SmallDevice device(64 * kMiB);
  CachingAllocator allocator(0);
  for (int i = 0; i < 3; ++i) {
    void* const block = allocator.allocate((18 + 2 * size_t(i)) * kMiB);
    allocator.deallocate(block, 0);
  }
  void* const small = allocator.allocate(1000);
  allocator.deallocate(small, 1000);
  REQUIRE(allocator.stats().reserved_bytes == int64_t((18 + 20 + 22 + 2) * kMiB));
  void* const large = allocator.allocate(60 * kMiB);
  REQUIRE(allocator.stats().reserved_bytes == int64_t(60 * kMiB));
  REQUIRE(allocator.memory_stats().num_alloc_retries == 1);
  REQUIRE(allocator.memory_stats().num_ooms == 0);
  check_allocator(allocator, {{address(large), 60 * kMiB}});
}

TEST_CASE("an OutOfMemoryError leaks nothing and says who holds what") {
  const SmallDevice device(64 * kMiB);
  const size_t total = gpu::memory_info(0).total_bytes;
  CachingAllocator allocator(0);
  LiveBlocks live;
  for (const auto& [op, bytes] : {std::pair("conv2d", 30 * kMiB), std::pair("linear", 12 * kMiB)}) {
    const OpScope scope(op);
    live[address(allocator.allocate(bytes))] = bytes;
  }
  allocator.record_history(10);
  for (int attempt = 1; attempt <= 3; ++attempt) {
    const OpScope scope("batch_norm");
    const std::string message = message_of(allocator, 40 * kMiB);
    CHECK(
        message ==
        "cuda:0: cannot allocate 40.00 MiB for batch_norm: the device has " + std::to_string(total / kMiB) +
            ".00 MiB, 22.00 MiB of it free; reserved here are 42.00 MiB: 42.00 MiB allocated "
            "(conv2d 30.00 MiB, linear 12.00 MiB) and 0 bytes cached, the largest free block 0 bytes; use a "
            "smaller batch or image size, accumulate gradients over several, or checkpoint activations");
    CHECK(allocator.memory_stats().num_ooms == attempt);
    check_allocator(allocator, live);
  }
  CHECK(allocator.snapshot().trace.back().action == gpu::TraceAction::kOom);
  void* const next = allocator.allocate(20 * kMiB);  // the next request is served
  live[address(next)] = 20 * kMiB;
  check_allocator(allocator, live);
  for (const auto& [at, bytes] : live) allocator.deallocate(reinterpret_cast<void*>(at), bytes);
  allocator.deallocate(allocator.allocate(40 * kMiB), 40 * kMiB);
  check_all_merged(allocator);
}

TEST_CASE("the way out depends on what is wrong") {
  const SmallDevice device(64 * kMiB);
  CachingAllocator allocator(0);
  CHECK_THAT(message_of(allocator, 1000 * size_t{1} << 30), Contains("more than the device has"));
  CHECK_THAT(message_of(allocator, SIZE_MAX), Contains("more than the device has"));
  void* const held = allocator.allocate(40 * kMiB);
  {
    gpu::MemoryPool pool(allocator);
    const gpu::MemoryPoolGuard guard(pool);
    CHECK_THAT(message_of(allocator, 40 * kMiB), Contains("call empty_cache() before the capture"));
  }
  allocator.deallocate(held, 40 * kMiB);
  allocator.empty_cache();
  std::vector<void*> blocks;
  for (int i = 0; i < 12; ++i) blocks.push_back(allocator.allocate(5 * kMiB));
  for (size_t i = 0; i < blocks.size(); i += 2) allocator.deallocate(blocks[i], 5 * kMiB);
  CHECK_THAT(
      message_of(allocator, 16 * kMiB),
      Contains("30.00 MiB cached, the largest free block 5.00 MiB") && Contains("set_max_split_size()"));
}

TEST_CASE("a memory fraction is a limit of its own") {
  const SmallDevice device(100 * kMiB);
  CachingAllocator allocator(0);
  allocator.set_memory_fraction(40. * kMiB / double(gpu::memory_info(0).total_bytes) + 1e-12);
  void* const first = allocator.allocate(24 * kMiB);
  CHECK_THAT(message_of(allocator, 24 * kMiB),
             Contains("24.00 MiB of at most 40.00 MiB (set_memory_fraction)") &&
                 Contains("raise set_memory_fraction()"));
  allocator.deallocate(first, 24 * kMiB);
  void* const second = allocator.allocate(40 * kMiB);  // in place of the cached one
  allocator.deallocate(second, 40 * kMiB);
  allocator.set_memory_fraction(1);
  check_allocator(allocator, {{address(allocator.allocate(90 * kMiB)), 90 * kMiB}});
}

TEST_CASE("a request is served where the usual segment does not fit") {
  const SmallDevice device(7 * kMiB);
  CachingAllocator allocator(0);
  void* const block = allocator.allocate(5 * kMiB);  // 20 MiB are usual
  REQUIRE(allocator.stats().reserved_bytes == int64_t(6 * kMiB));
  check_allocator(allocator, {{address(block), 5 * kMiB}});
}

TEST_CASE("under pressure a stream takes over another's segment, after its work") {
  const SmallDevice device(40 * kMiB);
  CachingAllocator allocator(0);
  const gpu::Stream one = gpu::stream_from_pool(), two = gpu::stream_from_pool();
  auto* const seen = static_cast<uint8_t*>(gpu::pinned_allocator().allocate(8));
  for (uint64_t seed = 0; seed < 50; ++seed) {
    gpu::sim::set_schedule_seed(seed);
    void* const block = allocator.allocate(30 * kMiB, one);
    gpu::fill_async(block, 1, 8, one);
    gpu::copy_async(seen, block, 8, gpu::CopyKind::kDeviceToHost, one);
    allocator.deallocate(block, 30 * kMiB);
    REQUIRE(allocator.allocate(30 * kMiB, two) == block);
    gpu::fill_async(block, 2, 8, two);
    two.synchronize();
    REQUIRE(seen[0] == 1);
    allocator.deallocate(block, 30 * kMiB);
  }
  CHECK(allocator.memory_stats().num_device_alloc == 1);
  gpu::pinned_allocator().deallocate(seen, 8);
}

TEST_CASE("under pressure the host waits for blocks that other streams use") {
  const SmallDevice device(40 * kMiB);
  CachingAllocator allocator(0);
  const gpu::Stream own = gpu::stream_from_pool(), other = gpu::stream_from_pool();
  void* const block = allocator.allocate(30 * kMiB, own);
  gpu::Event owned;
  owned.record(own);
  other.wait(owned);
  for (int i = 0; i < 100; ++i) gpu::fill_async(block, 1, 8, other);
  allocator.record_stream(block, other);
  allocator.deallocate(block, 30 * kMiB);
  REQUIRE(allocator.allocate(30 * kMiB, own) == block);
  REQUIRE(other.query());
  REQUIRE(allocator.memory_stats().num_alloc_retries == 0);
}

TEST_CASE("any one allocation of the runtime may fail") {
  const SmallDevice device(256 * kMiB);
  const size_t sizes[] = {1000, 3 * kMiB, 12 * kMiB, kMiB, kMiB, kMiB, 11 * kMiB, 14 * kMiB};
  for (int n = 1; n <= 8; ++n) {
    CAPTURE(n);
    CachingAllocator allocator(0);
    gpu::sim::fail_call(gpu::sim::FaultPoint::kAllocate, n);
    LiveBlocks live;
    for (const size_t size : sizes) live[address(allocator.allocate(size))] = size;
    check_allocator(allocator, live);
    CHECK(allocator.memory_stats().num_ooms == 0);
    CHECK(allocator.memory_stats().num_alloc_retries == (n <= allocator.memory_stats().num_device_alloc));
    for (const auto& [at, bytes] : live) allocator.deallocate(reinterpret_cast<void*>(at), bytes);
    check_all_merged(allocator);
    gpu::sim::set_memory_limit(gpu::memory_info(0).total_bytes);
  }
}

TEST_CASE("a released pool's segments are the first to go") {
  const SmallDevice device(64 * kMiB);
  CachingAllocator allocator(0);
  const gpu::Stream stream = gpu::stream_from_pool();
  {
    gpu::MemoryPool pool(allocator);
    {
      const gpu::MemoryPoolGuard guard(pool, [&](gpu::Stream s) { return s == stream; });
      allocator.deallocate(allocator.allocate(40 * kMiB, stream), 40 * kMiB);
    }
    CHECK_THAT(message_of(allocator, 40 * kMiB), Contains("40.00 MiB cached"));  // it may be needed yet
  }
  check_allocator(allocator, {{address(allocator.allocate(40 * kMiB)), 40 * kMiB}});
}

TEST_CASE("pinned memory that the runtime refuses is looked for in the cache") {
  gpu::PinnedAllocator pinned;
  pinned.deallocate(pinned.allocate(kMiB), kMiB);
  gpu::sim::fail_call(gpu::sim::FaultPoint::kAllocatePinned, 1);
  void* const block = pinned.allocate(2 * kMiB);
  CHECK(pinned.stats().reserved_bytes == int64_t(2 * kMiB));
  CHECK(pinned.memory_stats().num_alloc_retries == 1);
  CHECK(pinned.memory_stats().num_ooms == 0);
  pinned.deallocate(block, 2 * kMiB);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which refuse such sizes themselves
TEST_CASE("pinned memory that cannot be had is an error of one line") {
  gpu::PinnedAllocator pinned;
  pinned.deallocate(pinned.allocate(kMiB), kMiB);
  REQUIRE_THROWS_WITH(pinned.allocate(size_t{1} << 60),
                      Contains("cannot allocate 1.00 EiB") && Contains("fewer or smaller batches"));
  CHECK(pinned.stats().reserved_bytes == 0);  // what was cached went back first
  CHECK(pinned.memory_stats().num_ooms == 1);
  pinned.deallocate(pinned.allocate(kMiB), kMiB);
}
#endif

#if !defined(__SANITIZE_ADDRESS__)  // which ends the process at once
TEST_CASE("a kernel's fault waits for a call that may throw") {
  CachingAllocator allocator(0);
  int* const gone = static_cast<int*>(gpu::allocate(sizeof(int)));
  gpu::deallocate(gone);
  gpu::launch("late_write", late_write, {.grid = 1, .block = 1}, gone);
  // More work than the queue holds, so that the kernel runs in one of these calls.
  for (int i = 0; i < 2000; ++i) allocator.deallocate(allocator.allocate(512), 512);
  CHECK_THROWS_WITH(gpu::synchronize(), Contains("late_write"));
  check_all_merged(allocator);
}
#endif

TEST_CASE("giving a block back twice ends the program, with a reason") {
  const test::ChildResult child = test::run_in_child([] {
    std::signal(SIGABRT, SIG_DFL);  // Catch would report it as this test's failure
    gpu::sim::reset();              // a child has no GPU otherwise
    CachingAllocator allocator(0);
    void* const block = allocator.allocate(512);
    allocator.deallocate(block, 512);
    allocator.deallocate(block, 512);
  });
  CHECK(child.signal == SIGABRT);
  CHECK_THAT(child.stderr_text, Contains("it was given back already"));
}
