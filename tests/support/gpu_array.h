#pragma once
// An array in device memory, for tests of the layers below Tensor.

#include <vector>

#include "taper/core/gpu/runtime.h"

namespace taper::test {

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count)
      : count_(count), data_(static_cast<T*>(gpu::allocate(count * sizeof(T)))) {}
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    const gpu::Stream stream = gpu::current_stream();
    gpu::copy_async(data_, values.data(), count_ * sizeof(T), gpu::CopyKind::kHostToDevice, stream);
    stream.synchronize();
  }
  ~DeviceArray() { gpu::deallocate(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }
  size_t size_bytes() const { return count_ * sizeof(T); }

  /// Returns its contents after all work on the current stream.
  std::vector<T> host() const {
    std::vector<T> values(count_);
    const gpu::Stream stream = gpu::current_stream();
    gpu::copy_async(values.data(), data_, size_bytes(), gpu::CopyKind::kDeviceToHost, stream);
    stream.synchronize();
    return values;
  }

 private:
  size_t count_;
  T* data_;
};

}  // namespace taper::test
