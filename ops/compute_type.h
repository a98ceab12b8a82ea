#pragma once
// CPU kernels read and write every floating-point dtype, and compute in f32 or f64.

#include <type_traits>

#include "taper/core/base/dtype.h"

namespace taper::ops {

/// The type that arithmetic on elements of T uses: float for Half and BFloat16, else T itself.
template <class T>
using ComputeType = std::conditional_t<std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>, float, T>;

/// As dispatch, but for floating-point dtypes only. Throws Error naming `op` for any other dtype.
template <class Body>
decltype(auto) dispatch_float(DType dtype, std::string_view op, Body&& body) {
  if (dtype == kFloat16) return body.template operator()<Half>();
  if (dtype == kBFloat16) return body.template operator()<BFloat16>();
  return dispatch_compute_float(dtype, op, body);
}

}  // namespace taper::ops
