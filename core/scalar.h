#pragma once
// A number that has not chosen its dtype: the 2 in x * 2. PyTorch's counterpart: c10/core/Scalar.h.

#include <concepts>
#include <cstdint>

#include "taper/core/dtype.h"

namespace taper {

class Scalar {
 public:
  Scalar(bool value) : kind_(kBool), integer_(value), real_(value) {}
  template <std::integral T>
  Scalar(T value) : kind_(kInt64), integer_(int64_t(value)), real_(double(value)) {}
  template <std::floating_point T>
  Scalar(T value) : kind_(kFloat64), integer_(int64_t(value)), real_(double(value)) {}

  double to_double() const { return real_; }
  int64_t to_int64() const { return integer_; }
  bool is_floating_point() const { return kind_ == kFloat64; }
  bool is_bool() const { return kind_ == kBool; }

  /// The dtype of `tensor op scalar`: the tensor's own, unless the scalar is of a higher category (a float
  /// with an integer tensor gives f32, an integer with a bool tensor gives i64). As in PyTorch.
  DType result_type(DType tensor) const {
    if (is_floating_point()) return taper::is_floating_point(tensor) ? tensor : kFloat32;
    if (kind_ == kInt64 && tensor == kBool) return kInt64;
    return tensor;
  }

 private:
  DType kind_;
  int64_t integer_;
  double real_;
};

}  // namespace taper
