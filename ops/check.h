#pragma once
// Checks at the door of every op family.

#include <optional>
#include <string_view>

#include "taper/core/tensor.h"

namespace taper::ops {

/// Throws Error naming `op` and the argument unless x is defined: check_defined("relu", "input", x).
void check_defined(std::string_view op, std::string_view argument, const Tensor& x);

namespace detail {
[[noreturn]] void fail_devices_differ(std::string_view op, const Tensor& a, const Tensor& b);
}

/// Throws Error naming `op` unless all tensors are on one device. Undefined tensors (optional arguments)
/// pass.
template <class... Rest>
void check_same_device(std::string_view op, const Tensor& a, const Tensor& b, const Rest&... rest) {
  if (a.defined() && b.defined() && a.device() != b.device()) detail::fail_devices_differ(op, a, b);
  if constexpr (sizeof...(rest) > 0) {
    if (a.defined()) {
      check_same_device(op, a, rest...);
    } else {
      check_same_device(op, b, rest...);
    }
  }
}

/// Throws Error naming `op` unless x's dtype is f32, f64, f16 or bf16.
void check_floating_point(std::string_view op, const Tensor& x);

/// Returns the dtype of a result: `dtype` or, if one is asked for, `asked`. Throws Error naming `op` unless
/// that is `dtype` or the dtype that it computes in.
DType checked_result_dtype(std::string_view op, DType dtype, std::optional<DType> asked);

/// Throws Error naming `op` if two elements of `self` share memory, as after expand(): one of two writes
/// would be lost.
void check_writable(std::string_view op, const Tensor& self);

/// Returns whether x's memory range touches `self`'s with another geometry, so that writing self in place
/// would change elements of x before they are read.
bool overlaps_partly(const Tensor& self, const Tensor& x);

}  // namespace taper::ops
