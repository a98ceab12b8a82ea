#pragma once
// Which host memory is pinned, recorded by whoever allocates it. CUDA knows too, but asking it
// (cudaPointerGetAttributes) creates a context of hundreds of megabytes on a GPU that the program may leave
// alone.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

namespace taper::gpu::detail {

/// Ranges of addresses that do not overlap. Safe to use from several threads. A look-up takes no lock while
/// there is no range.
class PinnedRanges {
 public:
  void add(const void* begin, size_t size_bytes) {
    const std::lock_guard lock(mutex_);
    ranges_[address(begin)] = size_bytes;
    count_ = ranges_.size();
  }
  /// Removes the range that begins at `begin`. Returns false if there is none.
  bool remove(const void* begin) {
    const std::lock_guard lock(mutex_);
    const bool found = ranges_.erase(address(begin)) > 0;
    count_ = ranges_.size();
    return found;
  }
  bool begins_at(const void* begin) const {
    const std::lock_guard lock(mutex_);
    return ranges_.count(address(begin)) > 0;
  }
  bool contains(const void* host_ptr) const {
    if (count_ == 0) return false;
    const std::lock_guard lock(mutex_);
    auto after = ranges_.upper_bound(address(host_ptr));
    if (after == ranges_.begin()) return false;
    const auto& [begin, size_bytes] = *--after;
    return address(host_ptr) - begin < size_bytes;
  }

 private:
  static uintptr_t address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

  mutable std::mutex mutex_;
  std::atomic<size_t> count_{0};
  std::map<uintptr_t, size_t> ranges_;  // sizes by their beginnings
};

}  // namespace taper::gpu::detail
