#pragma once
// The dtypes of tensors as types in device memory: from a DType to a type, and from a type to another. For
// .cu files only.

#include <cstdint>
#include <type_traits>

#include "taper/core/base/dtype.h"
#include "taper/core/gpu/simt.h"

namespace taper::ops {

/// The type of an element in device memory.
template <class T>
struct DeviceType {
  using type = T;
};
template <>
struct DeviceType<Half> {
  using type = __half;
};
template <>
struct DeviceType<BFloat16> {
  using type = __nv_bfloat16;
};

/// In a kernel: calls body.operator()<T>() with the device's type for `dtype`.
template <class Body>
__device__ __forceinline__ void dispatch_device(DType dtype, Body&& body) {
  switch (dtype) {
    case kFloat32:
      return body.template operator()<float>();
    case kFloat64:
      return body.template operator()<double>();
    case kFloat16:
      return body.template operator()<__half>();
    case kBFloat16:
      return body.template operator()<__nv_bfloat16>();
    case kInt64:
      return body.template operator()<int64_t>();
    case kInt32:
      return body.template operator()<int32_t>();
    case kUInt8:
      return body.template operator()<uint8_t>();
    case kBool:
      return body.template operator()<bool>();
  }
}

/// On the host, to choose a kernel: calls body.operator()<T>() with the device's type for `dtype` and returns
/// what it returns.
template <class Body>
decltype(auto) dispatch_stored(DType dtype, Body&& body) {
  return dispatch(dtype, [&]<class T>() { return body.template operator()<typename DeviceType<T>::type>(); });
}

/// On the host or in a kernel: calls body.operator()<T>() with the device's type for f32, f16, bf16 or f64.
#pragma nv_exec_check_disable
template <class Body>
__host__ __device__ __forceinline__ void dispatch_device_float(DType dtype, Body&& body) {
  if (dtype == kFloat32) return body.template operator()<float>();
  if (dtype == kFloat16) return body.template operator()<__half>();
  if (dtype == kBFloat16) return body.template operator()<__nv_bfloat16>();
  body.template operator()<double>();
}

/// Returns `value` as To, converted as the CPU converts: to bool is "not zero", and floats become integers by
/// truncation through int64_t.
template <class To, class From>
__device__ __forceinline__ To device_cast(From value) {
  constexpr bool from_half = std::is_same_v<From, __half> || std::is_same_v<From, __nv_bfloat16>;
  constexpr bool to_half = std::is_same_v<To, __half> || std::is_same_v<To, __nv_bfloat16>;
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (from_half) {
    return device_cast<To>(static_cast<float>(value));
  } else if constexpr (to_half) {
    return To(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, bool>) {
    return value != From(0);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    return To(static_cast<int64_t>(value));
  } else {
    return To(value);
  }
}

}  // namespace taper::ops
