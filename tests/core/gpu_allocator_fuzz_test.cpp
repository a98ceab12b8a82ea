// Random calls on caching allocators, from one thread and from several, every invariant checked.

#include <catch2/catch.hpp>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>

#include "taper/core/base/error.h"
#include "tests/support/allocator_checks.h"
#if TAPER_SIMULATED_GPU
#include "taper/core/gpu/sim.h"
#endif

using namespace taper;
using gpu::CachingAllocator;
using test::address;
using test::check_all_merged;
using test::check_allocator;
using test::LiveBlocks;

namespace {

constexpr size_t kMiB = size_t{1} << 20;

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  /// 0 to count - 1.
  size_t below(size_t count) { return engine_() % count; }

 private:
  std::mt19937_64 engine_;
};

/// Random calls on one allocator, each checked against a model of what is live.
class Fuzzer {
 public:
  Fuzzer(int device, uint64_t seed) : allocator_(device), random_(seed) {
    streams_.push_back(gpu::default_stream(device));
    while (streams_.size() < 4) streams_.push_back(gpu::stream_from_pool(device));
  }

  void step() {
    const size_t choice = random_.below(100);
    if (choice < 52 && live_bytes_ < 48 * kMiB)
      allocate();
    else if (choice < 97)
      free();
    else
      record();
    const MemoryStats stats = allocator_.stats();
    if (stats.allocated_bytes < int64_t(live_bytes_) || stats.reserved_bytes < stats.allocated_bytes)
      FAIL("allocated " << stats.allocated_bytes << ", live " << live_bytes_);
  }

  void check() { check_allocator(allocator_, live_); }

  void empty_cache() { allocator_.empty_cache(); }

  void free_all() {
    while (!order_.empty()) free();
    gpu::synchronize(streams_[0].device());
    allocator_.deallocate(allocator_.allocate(1), 1);  // sees that all events are reached
    check();
    check_all_merged(allocator_);
    REQUIRE(allocator_.stats().allocated_bytes == 0);
    allocator_.empty_cache();
    REQUIRE(allocator_.stats().reserved_bytes == 0);
    check();
  }

 private:
  // As many small ones as large ones: 2^0 to 2^24 bytes.
  void allocate() {
    const size_t bytes = (size_t{1} << random_.below(24)) + random_.below(1000);
    void* const ptr = allocator_.allocate(bytes, streams_[random_.below(4)]);
    if (address(ptr) % 512 != 0) FAIL(ptr << " is not aligned to 512 bytes");
    const auto after = live_.upper_bound(address(ptr));
    if (after != live_.end() && after->first < address(ptr) + bytes) FAIL("overlaps the block after it");
    if (after != live_.begin() && std::prev(after)->first + std::prev(after)->second > address(ptr))
      FAIL("overlaps the block before it");
    live_.emplace(address(ptr), bytes);
    live_bytes_ += bytes;
    order_.push_back(ptr);
  }

  void free() {
    if (order_.empty()) return;
    std::swap(order_[random_.below(order_.size())], order_.back());
    void* const ptr = order_.back();
    order_.pop_back();
    const auto found = live_.find(address(ptr));
    live_bytes_ -= found->second;
    allocator_.deallocate(ptr, found->second);
    live_.erase(found);
  }

  void record() {
    if (!order_.empty())
      allocator_.record_stream(order_[random_.below(order_.size())], streams_[random_.below(4)]);
  }

  CachingAllocator allocator_;
  Random random_;
  std::vector<gpu::Stream> streams_;
  LiveBlocks live_;
  size_t live_bytes_ = 0;
  std::vector<void*> order_;
};

}  // namespace

TEST_CASE("a million random calls keep every invariant") {
#if TAPER_SIMULATED_GPU
  gpu::sim::set_device_count(2);
  gpu::sim::set_annotations(false);  // the poisoning would take ten times as long as the test
#endif
  std::vector<std::unique_ptr<Fuzzer>> fuzzers;
  const int devices = std::min(2, gpu::device_count());
  for (int device = 0; device < devices; ++device)
    fuzzers.push_back(std::make_unique<Fuzzer>(device, 17 + uint64_t(device)));
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int kCalls = 100'000;
#else
  constexpr int kCalls = 1'000'000;
#endif
  for (int call = 0; call < kCalls; ++call) {
    Fuzzer& fuzzer = *fuzzers[size_t(call % devices)];
    fuzzer.step();
    if (call % 10'000 < devices) fuzzer.check();
    if (call % 100'000 < devices) fuzzer.empty_cache();
  }
  for (const auto& fuzzer : fuzzers) fuzzer->free_all();
#if TAPER_SIMULATED_GPU
  gpu::sim::reset();
#endif
}

TEST_CASE("threads allocate and free at the same time") {
  CachingAllocator allocator(0);
  constexpr int kThreads = 4, kCalls = 4000;
  std::mutex mutex;
  std::vector<std::pair<void*, size_t>> handed_on;  // freed by whichever thread comes
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const gpu::StreamGuard guard(gpu::stream_from_pool(0));
      Random random{uint64_t(t)};
      std::vector<std::pair<void*, size_t>> mine;
      for (int call = 0; call < kCalls; ++call) {
        const size_t bytes = 1 + random.below(call % 100 == 0 ? 2 << 20 : 4096);
        mine.emplace_back(allocator.allocate(bytes), bytes);
        if (call % 50 == 0) allocator.record_stream(mine.back().first, gpu::default_stream(0));
        if (mine.size() < 20) continue;
        std::swap(mine[random.below(20)], mine.back());
        const std::lock_guard lock(mutex);
        handed_on.push_back(mine.back());
        mine.pop_back();
        std::swap(handed_on[random.below(handed_on.size())], handed_on.back());
        if (handed_on.size() < 10) continue;
        allocator.deallocate(handed_on.back().first, handed_on.back().second);
        handed_on.pop_back();
      }
      for (const auto& [ptr, bytes] : mine) allocator.deallocate(ptr, bytes);
    });
  }
  for (std::thread& thread : threads) thread.join();
  LiveBlocks live;
  for (const auto& [ptr, bytes] : handed_on) live[address(ptr)] = bytes;
  check_allocator(allocator, live);
  for (const auto& [ptr, bytes] : handed_on) allocator.deallocate(ptr, bytes);
  REQUIRE(allocator.memory_stats().all.allocation.allocated == kThreads * kCalls);
  allocator.empty_cache();
  REQUIRE(allocator.stats().reserved_bytes == 0);
}
