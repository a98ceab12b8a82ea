// The CPU's caching allocator: alignment, reuse, statistics, exhaustion.

#include "taper/core/base/allocator.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "taper/core/base/error.h"
#include "taper/core/tensor.h"

using namespace taper;

// The sanitizers abort on a huge request unless told that the caller handles it.
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}
extern "C" const char* __tsan_default_options() {
  return "allocator_may_return_null=1";
}

TEST_CASE("blocks are aligned, separate and reused") {
  Allocator& allocator = allocator_for(Device());
  CHECK(allocator.allocate(0) == nullptr);
  allocator.deallocate(nullptr, 0);
  for (const size_t size : {1, 63, 64, 65, 513, 100'000, 5'000'000}) {
    void* a = allocator.allocate(size);
    void* b = allocator.allocate(size);
    CHECK(reinterpret_cast<uintptr_t>(a) % 64 == 0);
    std::memset(a, 1, size);
    std::memset(b, 2, size);
    CHECK(static_cast<unsigned char*>(a)[size - 1] == 1);
    allocator.deallocate(a, size);
    CHECK(allocator.allocate(size) == a);
    allocator.deallocate(a, size);
    allocator.deallocate(b, size);
  }
}

TEST_CASE("statistics follow live and cached blocks") {
  Allocator& allocator = allocator_for(Device());
  allocator.empty_cache();
  allocator.reset_peak();
  const MemoryStats before = allocator.stats();
  {
    const Tensor x = empty({1 << 20});
    const MemoryStats during = allocator.stats();
    CHECK(during.allocated_bytes - before.allocated_bytes == 4 << 20);
    CHECK(during.allocation_count == before.allocation_count + 1);
    CHECK(during.peak_allocated_bytes >= during.allocated_bytes);
  }
  const MemoryStats after = allocator.stats();
  CHECK(after.allocated_bytes == before.allocated_bytes);
  CHECK(after.peak_allocated_bytes >= before.allocated_bytes + (4 << 20));
  CHECK(after.reserved_bytes == before.reserved_bytes + (4 << 20));
  allocator.empty_cache();
  CHECK(allocator.stats().reserved_bytes == before.reserved_bytes);
  allocator.reset_peak();
  CHECK(allocator.stats().peak_allocated_bytes == allocator.stats().allocated_bytes);
}

TEST_CASE("what cannot be had is refused with the numbers") {
  CHECK_THROWS_AS(empty({int64_t(1) << 58}), OutOfMemoryError);
  CHECK_THROWS_WITH(empty({int64_t(1) << 59}),
                    Catch::Contains("cannot allocate") && Catch::Contains("live tensors"));
  CHECK(empty({4}).defined());
}

TEST_CASE("poisoned memory is NaN in every float dtype") {
  set_poison_new_memory(true);
  CHECK(std::isnan(empty({3}).data<float>()[2]));
  CHECK(std::isnan(empty({3}, {.dtype = kFloat64}).data<double>()[2]));
  CHECK(std::isnan(float(empty({3}, {.dtype = kBFloat16}).data<BFloat16>()[2])));
  CHECK(std::isnan(float(empty({3}, {.dtype = kFloat16}).data<Half>()[2])));
  set_poison_new_memory(false);
}

TEST_CASE("threads allocate and free at once without sharing a block") {
  std::vector<std::thread> threads;
  std::atomic<int> damaged{0};
  for (int id = 0; id < 4; ++id) {
    threads.emplace_back([id, &damaged] {
      std::mt19937 random(static_cast<unsigned>(id));
      Allocator& allocator = allocator_for(Device());
      std::vector<std::pair<unsigned char*, size_t>> live;
      for (int step = 0; step < 2000; ++step) {
        if (live.size() < 20 || random() % 2 == 0) {
          const size_t size = 1 + random() % 3000;
          auto* block = static_cast<unsigned char*>(allocator.allocate(size));
          std::memset(block, id, size);
          live.emplace_back(block, size);
        } else {
          std::swap(live[random() % live.size()], live.back());
          const auto [block, size] = live.back();
          if (block[0] != id || block[size - 1] != id) ++damaged;
          allocator.deallocate(block, size);
          live.pop_back();
        }
      }
      for (const auto& [block, size] : live) allocator.deallocate(block, size);
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(damaged == 0);
}
