#pragma once
// How kernels on channels_last images move channels. Neighbouring channels of a pixel lie next to each other,
// and a thread takes as many as 16 bytes hold. For .cu files only.

#include <initializer_list>

#include "taper/ops/copy/strided_gpu.cuh"

namespace taper::ops {

/// The type in which a kernel adds up elements of T.
template <class T>
using AccumulationType = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// values = kPack elements at `from`, which is aligned to a Pack.
template <class T, int kPack, class Value>
__device__ __forceinline__ void load_channels(const T* from, Value (&values)[kPack]) {
  const auto pack = *reinterpret_cast<const Pack<T, kPack>*>(from);
#pragma unroll
  for (int i = 0; i < kPack; ++i) values[i] = device_cast<Value>(pack.values[i]);
}

template <class T, int kPack, class Value>
__device__ __forceinline__ void store_channels(T* to, const Value (&values)[kPack]) {
  Pack<T, kPack> pack;
#pragma unroll
  for (int i = 0; i < kPack; ++i) pack.values[i] = device_cast<T>(values[i]);
  *reinterpret_cast<Pack<T, kPack>*>(to) = pack;
}

/// Calls body.operator()<T, kPack>() with the device's type for a floating-point dtype. kPack is 16 bytes'
/// worth of elements, or 1 where the number of channels or a pointer does not allow more.
template <class Body>
void dispatch_channels(DType dtype, int64_t channels, std::initializer_list<const void*> pointers,
                       Body&& body) {
  dispatch_device_float(dtype, [&]<class T>() {
    constexpr int kPack = int(16 / sizeof(T));
    bool aligned = channels % kPack == 0;
    for (const void* pointer : pointers) aligned = aligned && reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
    if (aligned) return body.template operator()<T, kPack>();
    body.template operator()<T, 1>();
  });
}

}  // namespace taper::ops
