#include "taper/core/gpu/sim/arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/error.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace taper::gpu::sim {
namespace {

constexpr size_t kReservedBytes = size_t{256} << 30;  // addresses only
constexpr size_t kAlignment = 256;
constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kRememberedFrees = 4096;

const size_t kPageBytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));

void* pointer(uintptr_t address) {
  return reinterpret_cast<void*>(address);
}

}  // namespace

void allow_access([[maybe_unused]] void* device_ptr, [[maybe_unused]] size_t size_bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(device_ptr, size_bytes);
#endif
}

void forbid_access([[maybe_unused]] void* device_ptr, [[maybe_unused]] size_t size_bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(device_ptr, size_bytes);
#endif
}

Arena::~Arena() {
  if (base_ != 0) munmap(pointer(base_), kReservedBytes);
}

void* Arena::allocate(size_t size_bytes, size_t limit_bytes) {
  if (used_bytes_ > limit_bytes || size_bytes > limit_bytes - used_bytes_) {
    fail<OutOfMemoryError>(
        "cuda:{}: allocate of {} bytes failed: {} of {} bytes are in use; free some, or raise "
        "TAPER_SIM_MEMORY",
        device_, size_bytes, used_bytes_, limit_bytes);
  }
  // Uses huge pages for all but small blocks: opening and closing them for a kernel costs 500 times less.
  const size_t granularity = size_bytes >= kHugePageBytes / 2 ? kHugePageBytes : kPageBytes;
  const size_t page_bytes = round_up(std::max(size_bytes, size_t{1}), granularity);
  const uintptr_t pages = find_pages(page_bytes, granularity);
  // Places the end of the block at the guard page, as nearly as the alignment allows.
  const uintptr_t begin = pages + page_bytes - round_up(std::max(size_bytes, size_t{1}), kAlignment);
  const Block block{size_bytes, pages, page_bytes};
  if (mprotect(pointer(pages), page_bytes, PROT_READ | PROT_WRITE) != 0) {
    fail<OutOfMemoryError>("cuda:{}: allocate of {} bytes failed: the host has no memory for it", device_,
                           size_bytes);
  }
  if (granularity == kHugePageBytes) madvise(pointer(pages), page_bytes, MADV_HUGEPAGE);
  allow_access(pointer(pages), page_bytes);
  std::memset(pointer(pages), kPoison, page_bytes);
  forbid_access(pointer(pages), page_bytes);
  allow_access(pointer(begin), size_bytes);
  if (!unlocked_) protect(block, false);
  blocks_.emplace(begin, block);
  used_bytes_ += size_bytes;
  return pointer(begin);
}

void Arena::deallocate(void* device_ptr) {
  const auto found = blocks_.find(reinterpret_cast<uintptr_t>(device_ptr));
  TAPER_CHECK(found != blocks_.end(), "cuda:{}: deallocate of {}, which is not the start of a block{}{}",
              device_, device_ptr, contains(device_ptr) ? ": " : "",
              contains(device_ptr) ? describe(device_ptr) : "");
  const Block block = found->second;
  // Maps fresh, inaccessible pages over the block: its memory goes back, its addresses stay dead.
  mmap(pointer(block.pages), block.page_bytes, PROT_NONE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  forbid_access(pointer(block.pages), block.page_bytes);
  freed_.emplace_front(found->first, block.size_bytes);
  if (freed_.size() > kRememberedFrees) freed_.pop_back();
  used_bytes_ -= block.size_bytes;
  blocks_.erase(found);
}

uintptr_t Arena::find_pages(size_t page_bytes, size_t alignment) {
  if (base_ == 0) {
    void* reserved =
        mmap(nullptr, kReservedBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) {
      fail<OutOfMemoryError>("cuda:{}: the host refuses {} GiB of address space", device_,
                             kReservedBytes >> 30);
    }
    base_ = cursor_ = reinterpret_cast<uintptr_t>(reserved);
  }
  // Searches from the cursor to the end of the range, then once more from its start.
  for (int round = 0; round < 2; ++round) {
    auto next = blocks_.lower_bound(cursor_);
    for (;;) {
      const uintptr_t end = next == blocks_.end() ? base_ + kReservedBytes : next->second.pages;
      const uintptr_t pages = round_up(cursor_ + kPageBytes, alignment);
      if (pages + page_bytes + kPageBytes <= end) {
        cursor_ = pages + page_bytes;
        return pages;
      }
      if (next == blocks_.end()) break;
      cursor_ = next->second.pages + next->second.page_bytes;
      ++next;
    }
    cursor_ = base_;
  }
  fail<OutOfMemoryError>("cuda:{}: no gap of {} bytes in the device's addresses", device_, page_bytes);
}

void Arena::protect(const Block& block, bool accessible) const {
  mprotect(pointer(block.pages), block.page_bytes, accessible ? PROT_READ | PROT_WRITE : PROT_NONE);
}

void Arena::unlock() {
  if (!unlocked_) {
    for (const auto& [begin, block] : blocks_) protect(block, true);
  }
  unlocked_ = true;
}

void Arena::lock() {
  if (unlocked_) {
    for (const auto& [begin, block] : blocks_) protect(block, false);
  }
  unlocked_ = false;
}

bool Arena::contains(const void* address) const {
  return base_ != 0 && reinterpret_cast<uintptr_t>(address) - base_ < kReservedBytes;
}

Arena::Blocks::const_iterator Arena::block_at_or_before(uintptr_t address) const {
  auto after = blocks_.upper_bound(address);
  return after == blocks_.begin() ? blocks_.end() : --after;
}

bool Arena::holds(const void* device_ptr, size_t size_bytes) const {
  const auto address = reinterpret_cast<uintptr_t>(device_ptr);
  const auto block = block_at_or_before(address);
  return block != blocks_.end() && address - block->first <= block->second.size_bytes &&
         size_bytes <= block->second.size_bytes - (address - block->first);
}

std::string Arena::describe(const void* at) const {
  const auto address = reinterpret_cast<uintptr_t>(at);
  for (const auto& [begin, size_bytes] : freed_) {
    if (address >= begin && address < begin + size_bytes) {
      return fmt::format("{} bytes into a freed {}-byte block on cuda:{}", address - begin, size_bytes,
                         device_);
    }
  }
  const auto before = block_at_or_before(address);
  const auto after = blocks_.upper_bound(address);
  if (before != blocks_.end()) {
    const uintptr_t offset = address - before->first;
    const size_t size_bytes = before->second.size_bytes;
    if (offset < size_bytes)
      return fmt::format("{} bytes into a {}-byte block on cuda:{}", offset, size_bytes, device_);
    if (after == blocks_.end() || offset - size_bytes < after->first - address) {
      return fmt::format("{} bytes past the end of a {}-byte block on cuda:{}", offset - size_bytes,
                         size_bytes, device_);
    }
  }
  if (after != blocks_.end()) {
    return fmt::format("{} bytes before a {}-byte block on cuda:{}", after->first - address,
                       after->second.size_bytes, device_);
  }
  return fmt::format("in no block on cuda:{}", device_);
}

}  // namespace taper::gpu::sim
