// The CPU's caching allocator. Training asks for the same sizes every step; fetching large blocks from the
// system each time costs more in page faults than the arithmetic on them. Sizes are rounded up to eighths of
// a power of two, and each rounded size has its own list of free blocks.

#include <sys/mman.h>

#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "taper/core/base/allocator.h"
#include "taper/core/base/ceil_div.h"
#include "taper/core/base/error.h"
#include "taper/core/base/fork.h"
#include "taper/core/base/profile_events.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(ptr, size) ((void)(ptr), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(ptr, size) ((void)(ptr), (void)(size))
#endif

namespace taper {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t(2) << 20;

std::atomic<bool> poison_new_memory{false};

size_t rounded_size(size_t size_bytes) {
  if (size_bytes <= 512) return round_up(size_bytes, kAlignment);
  return round_up(size_bytes, std::bit_floor(size_bytes) / 8);
}

class CpuAllocator final : public Allocator {
 public:
  CpuAllocator() { hold_over_fork(mutex_); }

  void* allocate(size_t size_bytes) override {
    if (size_bytes == 0) return nullptr;
    // No real request is this large; the bound keeps the rounding from overflowing.
    if (size_bytes > size_t(1) << 62) out_of_memory(size_bytes);
    const size_t rounded = rounded_size(size_bytes);
    void* ptr = nullptr;
    {
      const std::lock_guard lock(mutex_);
      auto& blocks = free_blocks_[rounded];
      if (!blocks.empty()) {
        ptr = blocks.back();
        blocks.pop_back();
      }
    }
    if (ptr == nullptr) ptr = from_system(rounded);
    ASAN_UNPOISON_MEMORY_REGION(ptr, size_bytes);
    if (poison_new_memory.load(std::memory_order_relaxed)) std::memset(ptr, 0xFF, size_bytes);
    const std::lock_guard lock(mutex_);
    stats_.allocated_bytes += int64_t(rounded);
    stats_.peak_allocated_bytes = std::max(stats_.peak_allocated_bytes, stats_.allocated_bytes);
    ++stats_.allocation_count;
    detail::profile_memory({}, int64_t(rounded), stats_.allocated_bytes, stats_.reserved_bytes);
    return ptr;
  }

  void deallocate(void* ptr, size_t size_bytes) noexcept override {
    if (ptr == nullptr) return;
    const size_t rounded = rounded_size(size_bytes);
    ASAN_POISON_MEMORY_REGION(ptr, rounded);
    const std::lock_guard lock(mutex_);
    stats_.allocated_bytes -= int64_t(rounded);
    detail::profile_memory({}, -int64_t(rounded), stats_.allocated_bytes, stats_.reserved_bytes);
    free_blocks_[rounded].push_back(ptr);
  }

  void empty_cache() override {
    const std::lock_guard lock(mutex_);
    for (auto& [size, blocks] : free_blocks_) {
      for (void* ptr : blocks) {
        ASAN_UNPOISON_MEMORY_REGION(ptr, size);
        std::free(ptr);
      }
      stats_.reserved_bytes -= int64_t(size * blocks.size());
    }
    free_blocks_.clear();
  }

  MemoryStats stats() const override {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() override {
    const std::lock_guard lock(mutex_);
    stats_.peak_allocated_bytes = stats_.allocated_bytes;
    stats_.peak_reserved_bytes = stats_.reserved_bytes;
  }

 private:
  void* from_system(size_t rounded) {
    const bool large = rounded >= 2 * kHugePage;
    const size_t alignment = large ? kHugePage : kAlignment;
    void* ptr = std::aligned_alloc(alignment, round_up(rounded, alignment));
    if (ptr == nullptr) {
      empty_cache();
      ptr = std::aligned_alloc(alignment, round_up(rounded, alignment));
    }
    if (ptr == nullptr) out_of_memory(rounded);
    if (large) madvise(ptr, rounded, MADV_HUGEPAGE);
    const std::lock_guard lock(mutex_);
    stats_.reserved_bytes += int64_t(rounded);
    stats_.peak_reserved_bytes = std::max(stats_.peak_reserved_bytes, stats_.reserved_bytes);
    return ptr;
  }

  [[noreturn]] void out_of_memory(size_t size_bytes) {
    const MemoryStats now = stats();
    fail<OutOfMemoryError>(
        "cpu: cannot allocate {} bytes; {} bytes are in live tensors and {} bytes reserved; "
        "use a smaller batch or image size",
        size_bytes, now.allocated_bytes, now.reserved_bytes);
  }

  mutable std::mutex mutex_;
  std::unordered_map<size_t, std::vector<void*>> free_blocks_;
  MemoryStats stats_;
};

}  // namespace

void set_poison_new_memory(bool enabled) {
  poison_new_memory = enabled;
}

Allocator& cpu_allocator() {
  // Never destroyed: tensors with static lifetime may outlive any other static object.
  static CpuAllocator& allocator = *new CpuAllocator;
  return allocator;
}

}  // namespace taper
