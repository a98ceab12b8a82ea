#pragma once
// The memory of one simulated device.
//
// A reserved range of addresses in which every block lies between guard pages. Outside kernels and copies all
// of it is inaccessible, so host code that touches device memory faults at that instruction. Addresses are
// not reused until the range is used up, so a kernel that touches a freed block faults too. Fresh blocks are
// filled with 0xff bytes, which are NaN in every floating-point type.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>

namespace taper::gpu::sim {

constexpr uint8_t kPoison = 0xff;

class Arena {
 public:
  explicit Arena(int device) : device_(device) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// Returns memory aligned to 256 bytes. Throws OutOfMemoryError beyond `limit_bytes` in use.
  void* allocate(size_t size_bytes, size_t limit_bytes);
  /// Throws Error if `device_ptr` is not the start of a block.
  void deallocate(void* device_ptr);

  /// Lets this process touch the blocks, for as long as kernels and copies run.
  void unlock();
  void lock();

  size_t used_bytes() const { return used_bytes_; }
  bool contains(const void* address) const;
  /// Returns whether all of [device_ptr, device_ptr + size_bytes) lies in one block.
  bool holds(const void* device_ptr, size_t size_bytes) const;
  /// Returns where `address` lies: "4 bytes past the end of a 1024-byte block on cuda:0", ...
  std::string describe(const void* address) const;

 private:
  struct Block {
    size_t size_bytes;
    uintptr_t pages;  // the accessible pages around it
    size_t page_bytes;
  };
  using Blocks = std::map<uintptr_t, Block>;

  uintptr_t find_pages(size_t page_bytes, size_t alignment);
  void protect(const Block& block, bool accessible) const;
  Blocks::const_iterator block_at_or_before(uintptr_t address) const;

  int device_;
  uintptr_t base_ = 0;  // 0 until the first allocation
  uintptr_t cursor_ = 0;
  bool unlocked_ = false;
  size_t used_bytes_ = 0;
  Blocks blocks_;
  std::deque<std::pair<uintptr_t, size_t>> freed_;  // the last few, for reports
};

/// Marks a piece of a block as accessible or not, for the AddressSanitizer build. Does nothing in others.
void allow_access(void* device_ptr, size_t size_bytes);
void forbid_access(void* device_ptr, size_t size_bytes);

}  // namespace taper::gpu::sim
