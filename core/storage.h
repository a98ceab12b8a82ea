#pragma once  // spine 5 (docs/0-the-spine.md)
// A block of memory on one device, shared by all tensors that view it. PyTorch's counterpart:
// c10/core/StorageImpl.h; the version counter is c10's VariableVersion.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "taper/core/base/allocator.h"
#include "taper/core/base/device.h"

namespace taper {

namespace gpu {
class Stream;
}

/// Returns the allocator of `device`: the CPU's, or the GPU's caching allocator
/// (core/gpu/memory/caching_allocator.h). Throws Error if the machine has no such device.
Allocator& allocator_for(Device device);

class Storage {
 public:
  /// Takes fresh memory from `allocator`, whose memory is on `device`. Throws OutOfMemoryError.
  Storage(size_t size_bytes, Device device, Allocator& allocator)
      : allocator_(&allocator), size_bytes_(size_bytes), device_(device) {
    data_ = allocator_->allocate(size_bytes);
  }
  /// Takes fresh memory from the device's own allocator. Throws OutOfMemoryError.
  Storage(size_t size_bytes, Device device) : Storage(size_bytes, device, allocator_for(device)) {}
  /// Views memory owned by someone else. Calls `release` when the last view is gone.
  Storage(void* data, size_t size_bytes, Device device, std::function<void()> release)
      : data_(data), size_bytes_(size_bytes), device_(device), release_(std::move(release)) {}
  ~Storage() {
    if (allocator_) allocator_->deallocate(data_, size_bytes_);
    if (release_) release_();
  }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }
  Device device() const { return device_; }
  /// Returns null if the memory is owned by someone else.
  const Allocator* allocator() const { return allocator_; }

  /// Returns how many in-place writes have gone through any view. The tape compares it, to refuse a gradient
  /// from overwritten values.
  uint32_t version() const { return version_.load(std::memory_order_acquire); }
  void bump_version() { version_.fetch_add(1, std::memory_order_acq_rel); }

 private:
  Allocator* allocator_ = nullptr;
  void* data_ = nullptr;
  size_t size_bytes_ = 0;
  Device device_;
  std::function<void()> release_;
  std::atomic<uint32_t> version_{0};
};

namespace gpu {
/// Keeps device memory or pinned host memory from being handed out again before work enqueued on `stream` is
/// done. Does nothing for memory owned by someone else. (Tensor.record_stream)
void record_stream(const Storage& storage, Stream stream);
}  // namespace gpu

}  // namespace taper
