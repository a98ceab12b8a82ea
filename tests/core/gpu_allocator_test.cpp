// The caching allocator: what it promises on any GPU, simulated or real. Limits, failures and seeded stream
// orders need the simulated one: sim_allocator_test.cpp.

#include <catch2/catch.hpp>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>

#include <nlohmann/json.hpp>

#include "taper/core/base/error.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/gpu/memory/pinned_allocator.h"
#include "taper/core/storage.h"
#include "tests/support/allocator_checks.h"
#if TAPER_SIMULATED_GPU
#include "taper/core/gpu/sim.h"
#endif

using namespace taper;
using Catch::Contains;
using gpu::CachingAllocator;
using test::address;
using test::check_all_merged;
using test::check_allocator;
using test::LiveBlocks;

namespace {

constexpr size_t kMiB = size_t{1} << 20;

const gpu::BlockSnapshot* find_block(const gpu::MemorySnapshot& snapshot, const void* ptr) {
  for (const auto& segment : snapshot.segments)
    for (const auto& block : segment.blocks)
      if (block.address == address(ptr)) return &block;
  return nullptr;
}

}  // namespace

TEST_CASE("a freed block is handed out again, best fit first") {
  CachingAllocator allocator(0);
  void* const a = allocator.allocate(3000);
  void* const b = allocator.allocate(1000);
  void* const c = allocator.allocate(2000);
  void* const d = allocator.allocate(1);
  REQUIRE(address(b) == address(a) + 3072);  // rounded up to 512, cut from one segment
  REQUIRE(address(d) == address(c) + 2048);
  REQUIRE(allocator.stats().reserved_bytes == 2 * kMiB);
  REQUIRE(allocator.stats().allocated_bytes == 3072 + 1024 + 2048 + 512);
  allocator.deallocate(a, 3000);
  allocator.deallocate(c, 2000);
  check_allocator(allocator, {{address(b), 1000}, {address(d), 1}});
  REQUIRE(allocator.allocate(2048) == c);  // not a, though that would fit too
  REQUIRE(allocator.allocate(2500) == a);
  void* const rest = allocator.allocate(512);
  REQUIRE(address(rest) == address(a) + 2560);  // what 2500 left of a
  for (void* ptr : {a, b, c, d, rest}) allocator.deallocate(ptr, 0);
  check_allocator(allocator, {});
  check_all_merged(allocator);
  REQUIRE(allocator.allocate(0) == nullptr);
  allocator.deallocate(nullptr, 0);
}

TEST_CASE("segments have PyTorch's sizes") {
  struct Case {
    size_t request, block, segment;
  };
  // The last two columns: torch.empty(request, dtype=uint8, device="cuda"), memory_allocated,
  // memory_reserved.
  const Case cases[] = {
      {1, 512, 2 * kMiB},
      {kMiB, kMiB, 2 * kMiB},
      {kMiB + 1, kMiB + 512, 20 * kMiB},
      {10 * kMiB - 512, 10 * kMiB - 512, 20 * kMiB},
      {10 * kMiB, 10 * kMiB, 10 * kMiB},
      {10 * kMiB + 1, 10 * kMiB + 512, 12 * kMiB},
      {11 * kMiB + 1, 12 * kMiB, 12 * kMiB},  // a rest of less than 1 MiB stays with the block
  };
  for (const Case& c : cases) {
    CAPTURE(c.request);
    CachingAllocator allocator(0);
    void* const ptr = allocator.allocate(c.request);
    CHECK(allocator.stats().allocated_bytes == int64_t(c.block));
    CHECK(allocator.stats().reserved_bytes == int64_t(c.segment));
    CHECK(allocator.memory_stats().all.requested_bytes.current == int64_t(c.request));
    check_allocator(allocator, {{address(ptr), c.request}});
  }
}

TEST_CASE("streams do not share free blocks") {
  CachingAllocator allocator(0);
  const gpu::Stream one = gpu::stream_from_pool(), two = gpu::stream_from_pool();
  void* const first = allocator.allocate(1000, one);
  allocator.deallocate(first, 1000);
  void* const second = allocator.allocate(1000, two);
  REQUIRE(second != first);
  REQUIRE(allocator.allocate(1000, one) == first);
  {
    const gpu::StreamGuard guard(two);
    REQUIRE(address(allocator.allocate(1000)) == address(second) + 1024);
  }
}

TEST_CASE("a block that another stream uses waits for it") {
  CachingAllocator allocator(0);
  const gpu::Stream own = gpu::stream_from_pool(), other = gpu::stream_from_pool();
  void* const block = allocator.allocate(kMiB, own);
  gpu::fill_async(block, 0, kMiB, own);
  allocator.record_stream(block, own);  // changes nothing
  allocator.record_stream(block, other);
  allocator.record_stream(block, other);
  allocator.deallocate(block, kMiB);
  REQUIRE(allocator.stats().allocated_bytes == 0);
  REQUIRE(allocator.memory_stats().all.active_bytes.current == int64_t(kMiB));
  REQUIRE(find_block(allocator.snapshot(), block)->state == "active_pending_free");
  check_allocator(allocator, {});
  gpu::synchronize();
  REQUIRE(allocator.allocate(kMiB, own) == block);
  REQUIRE(allocator.memory_stats().all.active.current == 1);
}

TEST_CASE("large blocks stay whole under a split cap") {
  CachingAllocator allocator(0);
  allocator.set_max_split_size(32 * kMiB);
  void* const large = allocator.allocate(64 * kMiB);
  allocator.deallocate(large, 64 * kMiB);
  void* const medium = allocator.allocate(16 * kMiB);
  REQUIRE(medium != large);                         // cutting the large one up is what the cap forbids
  REQUIRE(allocator.allocate(40 * kMiB) != large);  // 20 MiB of waste and more is refused
  REQUIRE(allocator.allocate(62 * kMiB) == large);
  REQUIRE_THROWS_WITH(allocator.set_max_split_size(kMiB), Contains("at least 20 MiB"));
}

TEST_CASE("empty_cache gives back what is not in use") {
  CachingAllocator allocator(0);
  void* const small = allocator.allocate(100);
  void* const large = allocator.allocate(30 * kMiB);
  allocator.deallocate(large, 30 * kMiB);
  allocator.empty_cache();
  REQUIRE(allocator.stats().reserved_bytes == 2 * kMiB);
  check_allocator(allocator, {{address(small), 100}});
  allocator.deallocate(small, 100);
  allocator.empty_cache();
  REQUIRE(allocator.stats().reserved_bytes == 0);
  REQUIRE(allocator.stats().peak_reserved_bytes == int64_t(32 * kMiB));
  allocator.reset_peak();
  REQUIRE(allocator.stats().peak_reserved_bytes == 0);
  const gpu::CachingAllocatorStats stats = allocator.memory_stats();
  REQUIRE(stats.num_device_alloc == 2);
  REQUIRE(stats.num_device_free == 2);
}

TEST_CASE("wrong calls are refused in one line") {
  CachingAllocator allocator(0);
  int on_host = 0;
  REQUIRE_THROWS_WITH(allocator.record_stream(&on_host, gpu::default_stream()),
                      Contains("record_stream") && Contains("not the start of a live block of cuda:0"));
  void* const block = allocator.allocate(100);
  allocator.deallocate(block, 100);
  REQUIRE_THROWS_WITH(allocator.record_stream(block, gpu::default_stream()), Contains("given back already"));
  REQUIRE_FALSE(allocator.owns(block));
  REQUIRE_THROWS_WITH(allocator.set_memory_fraction(0), Contains("(0, 1]"));
  REQUIRE_THROWS_WITH(allocator.set_memory_fraction(1.5), Contains("1.5"));
  REQUIRE_THROWS_WITH(gpu::caching_allocator(gpu::device_count()), Contains("there is no cuda:"));
  REQUIRE_THROWS_AS(CachingAllocator(-1), Error);
}

TEST_CASE("tensors' storages live in the caching allocator") {
  CachingAllocator& allocator = gpu::caching_allocator(0);
  REQUIRE(&allocator_for(Device("cuda:0")) == &allocator);
  const int64_t before = allocator.stats().allocated_bytes;
  const gpu::Stream side = gpu::stream_from_pool();
  {
    const Storage storage(5000, Device("cuda"));
    REQUIRE(allocator.owns(storage.data()));
    REQUIRE(allocator.stats().allocated_bytes == before + 5120);
    gpu::record_stream(storage, side);
    int theirs = 0;
    const Storage foreign(&theirs, sizeof theirs, Device("cuda"), [] {});
    gpu::record_stream(foreign, side);  // its owner keeps it alive
    const Storage on_cpu(100, Device("cpu"));
    gpu::record_stream(on_cpu, side);  // copies from pageable memory are over when they return
  }
  REQUIRE(allocator.stats().allocated_bytes == before);
  REQUIRE_THROWS_WITH(Storage(1, Device("cuda:99")), Contains("there is no cuda:99"));
}

TEST_CASE("a captured graph keeps its memory to itself") {
  CachingAllocator allocator(0);
  const gpu::Stream stream = gpu::stream_from_pool();
  auto pinned = [&](size_t bytes) { return static_cast<uint8_t*>(gpu::pinned_allocator().allocate(bytes)); };
  uint8_t* const result = pinned(kMiB);
  constexpr size_t kBytes = kMiB;
  void *input = nullptr, *output = nullptr;
  gpu::Graph graph;
  {
    auto pool = std::make_unique<gpu::MemoryPool>(allocator);
    {
      const gpu::MemoryPoolGuard guard(*pool);
      gpu::begin_capture(stream);
      input = allocator.allocate(kBytes, stream);
      void* const scratch = allocator.allocate(kBytes, stream);
      gpu::fill_async(scratch, 7, kBytes, stream);
      gpu::copy_async(input, scratch, kBytes, gpu::CopyKind::kDeviceToDevice, stream);
      allocator.deallocate(scratch, kBytes);
      output = allocator.allocate(kBytes, stream);
      REQUIRE(output == scratch);  // within the graph, memory is reused as usual
      gpu::copy_async(output, input, kBytes, gpu::CopyKind::kDeviceToDevice, stream);
      graph = gpu::end_capture(stream);
      REQUIRE_THROWS_WITH(allocator.empty_cache(), Contains("being captured"));
      REQUIRE_THROWS_WITH(gpu::MemoryPoolGuard(*pool), Contains("in use by another capture"));
    }
    allocator.deallocate(input, kBytes);  // free, but only for the graph
    for (int round = 0; round < 3; ++round) {
      void* const other = allocator.allocate(kBytes, stream);
      REQUIRE(other != input);
      REQUIRE(other != output);
      gpu::fill_async(other, 9, kBytes, stream);
      graph.replay(stream);
      gpu::copy_async(result, output, kBytes, gpu::CopyKind::kDeviceToHost, stream);
      stream.synchronize();
      REQUIRE(std::count(result, result + kBytes, 7) == int64_t(kBytes));
      allocator.deallocate(other, kBytes);
    }
    allocator.empty_cache();  // returns what is not the graph's
    REQUIRE(allocator.stats().reserved_bytes == 2 * int64_t(kMiB));
    REQUIRE(allocator.snapshot().segments[0].pool_id == pool->id());
    allocator.deallocate(output, kBytes);
  }
  allocator.empty_cache();  // the pool is gone
  REQUIRE(allocator.stats().reserved_bytes == 0);
  gpu::pinned_allocator().deallocate(result, kMiB);
}

TEST_CASE("a block that two captured streams use is not reused within the capture") {
  CachingAllocator allocator(0);
  const gpu::Stream origin = gpu::stream_from_pool(), side = gpu::stream_from_pool();
  gpu::MemoryPool pool(allocator);
  {
    const gpu::MemoryPoolGuard guard(pool);
    gpu::begin_capture(origin);
    void* const block = allocator.allocate(1000, origin);
    gpu::Event fork, join;
    fork.record(origin);
    side.wait(fork);
    gpu::fill_async(block, 1, 1000, side);
    allocator.record_stream(block, side);
    allocator.deallocate(block, 1000);
    void* const next = allocator.allocate(1000, origin);
    REQUIRE(next != block);
    allocator.deallocate(next, 1000);
    join.record(side);
    origin.wait(join);
    gpu::end_capture(origin);
    REQUIRE(allocator.memory_stats().all.active.current == 1);
  }
  gpu::synchronize();
  allocator.deallocate(allocator.allocate(1), 1);  // after the capture, events are recorded and seen
  gpu::synchronize();
  allocator.deallocate(allocator.allocate(1), 1);
  REQUIRE(allocator.memory_stats().all.active.current == 0);
  check_all_merged(allocator);
}

TEST_CASE("the snapshot says who asked for what") {
  CachingAllocator allocator(0);
  allocator.record_history(100);
  void *weights, *image;
  {
    const OpScope outer("linear");
    weights = allocator.allocate(1000);
    const OpScope inner(intern(std::string("con") + "v2d"));
    image = allocator.allocate(3 * kMiB);
  }
  allocator.deallocate(weights, 1000);
  const gpu::MemorySnapshot snapshot = allocator.snapshot();
  REQUIRE(find_block(snapshot, image)->op == "conv2d");
  REQUIRE(find_block(snapshot, weights)->op.empty());

  const nlohmann::json json = nlohmann::json::parse(gpu::to_json({&snapshot, 1}))["devices"][0];
  REQUIRE(json["stats"]["allocated_bytes.all.current"] == 3 * kMiB);
  REQUIRE(json["stats"]["allocated_bytes.small_pool.peak"] == 1024);
  REQUIRE(json["stats"]["num_ooms"] == 0);
  REQUIRE(json["total_memory"] == gpu::memory_info(0).total_bytes);
  REQUIRE(json["segments"].size() == 2);
  int active = 0;
  for (const auto& segment : json["segments"]) {
    size_t bytes = 0;
    for (const auto& block : segment["blocks"]) {
      bytes += block["size"].get<size_t>();
      if (block["state"] == "inactive") continue;
      ++active;
      REQUIRE(block["op"] == "conv2d");
      REQUIRE(block["requested_size"] == 3 * kMiB);
      REQUIRE(segment["segment_type"] == "large");
    }
    REQUIRE(segment["total_size"] == bytes);
  }
  REQUIRE(active == 1);

  std::vector<std::string> actions;
  for (const auto& event : json["trace"]) actions.push_back(event["action"]);
  REQUIRE(actions == std::vector<std::string>{"segment_alloc", "alloc", "segment_alloc", "alloc",
                                              "free_requested", "free_completed"});
  REQUIRE(json["trace"][1]["op"] == "linear");
  REQUIRE(json["trace"][1]["size"] == 1000);
  REQUIRE(json["trace"][1]["allocated"] == 1024);
  REQUIRE(json["trace"][5]["allocated"] == 3 * kMiB);
  REQUIRE(nlohmann::json::parse(gpu::memory_snapshot())["devices"].is_array());
}

TEST_CASE("the history keeps the last events") {
  CachingAllocator allocator(0);
  allocator.deallocate(allocator.allocate(100), 100);
  REQUIRE(allocator.snapshot().trace.empty());
  allocator.record_history(5);
  for (size_t bytes = 1; bytes <= 10; ++bytes) allocator.deallocate(allocator.allocate(bytes), bytes);
  const auto trace = allocator.snapshot().trace;
  REQUIRE(trace.size() == 5);
  REQUIRE(trace[2].action == gpu::TraceAction::kAlloc);
  REQUIRE(trace[2].size_bytes == 10);
  for (size_t i = 1; i < trace.size(); ++i) REQUIRE(trace[i - 1].time_ns <= trace[i].time_ns);
  allocator.record_history(0);
  REQUIRE(allocator.snapshot().trace.empty());
}
