#pragma once  // spine 4 (docs/0-the-spine.md)
// Where tensor memory comes from. Each device has one allocator that keeps freed blocks for the next request;
// the CPU's is here, the GPU's in core/gpu/memory/. PyTorch's counterparts: c10/core/Allocator.h and
// c10/core/CachingDeviceAllocator.h.

#include <cstddef>
#include <cstdint>

#include "taper/core/base/device.h"

namespace taper {

/// Bytes held now, and the most held since reset_peak().
struct MemoryStats {
  int64_t allocated_bytes = 0;  ///< in live storages
  int64_t peak_allocated_bytes = 0;
  int64_t reserved_bytes = 0;  ///< taken from the system: live and cached
  int64_t peak_reserved_bytes = 0;
  int64_t allocation_count = 0;  ///< requests served so far
};

class Allocator {
 public:
  virtual ~Allocator() = default;
  /// Returns at least `size_bytes` bytes, aligned to 64 or more; null for 0. Throws OutOfMemoryError.
  virtual void* allocate(size_t size_bytes) = 0;
  /// Takes back what allocate(size_bytes) returned.
  virtual void deallocate(void* ptr, size_t size_bytes) noexcept = 0;
  /// Gives cached blocks back to the system.
  virtual void empty_cache() = 0;
  virtual MemoryStats stats() const = 0;
  virtual void reset_peak() = 0;
};

Allocator& cpu_allocator();

/// Fills every fresh CPU block with 0xFF bytes (NaN in all float dtypes), so that a test sees what an op
/// forgot to write.
void set_poison_new_memory(bool enabled);

}  // namespace taper
