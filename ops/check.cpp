#include "taper/ops/check.h"

#include <algorithm>

namespace taper::ops {

void check_defined(std::string_view op, std::string_view argument, const Tensor& x) {
  TAPER_CHECK(x.defined(), "{}: the {} is an undefined tensor", op, argument);
}

void detail::fail_devices_differ(std::string_view op, const Tensor& a, const Tensor& b) {
  fail("{}: tensors are on {} and {}; move one with .to(device)", op, a.device(), b.device());
}

void check_floating_point(std::string_view op, const Tensor& x) {
  TAPER_CHECK(is_floating_point(x.dtype()),
              "{}: needs a floating-point tensor, got {} of shape {}; convert "
              "with .to(kFloat32)",
              op, x.dtype(), x.shape());
}

void check_writable(std::string_view op, const Tensor& self) {
  // Walking up from the smallest stride, each axis must step over all that the axes below it reach.
  Dims order;
  for (int64_t axis = 0; axis < self.dim(); ++axis) {
    if (self.shape()[axis] > 1) order.push_back(axis);
  }
  std::sort(order.begin(), order.end(),
            [&](int64_t a, int64_t b) { return self.strides()[a] < self.strides()[b]; });
  int64_t reach = 0;
  for (const int64_t axis : order) {
    TAPER_CHECK(self.numel() == 0 || self.strides()[axis] > reach,
                "{}: elements of the written tensor share memory (shape {}, strides {}); clone() it first",
                op, self.shape(), self.strides());
    reach += (self.shape()[axis] - 1) * self.strides()[axis];
  }
}

DType checked_result_dtype(std::string_view op, DType dtype, std::optional<DType> asked) {
  TAPER_CHECK(!asked || *asked == dtype || *asked == compute_dtype(dtype),
              "{}: the result can be {}{}, not {}; convert it with .to()", op, dtype,
              is_half(dtype) ? " or f32" : "", *asked);
  return asked.value_or(dtype);
}

bool overlaps_partly(const Tensor& self, const Tensor& x) {
  if (self.storage() != x.storage() || self.numel() == 0 || x.numel() == 0) return false;
  if (self.data_ptr() == x.data_ptr() && self.dtype() == x.dtype() && self.shape() == x.shape() &&
      self.strides() == x.strides()) {
    return false;
  }
  const auto range = [](const Tensor& t) {
    int64_t last = t.storage_offset();
    for (int64_t axis = 0; axis < t.dim(); ++axis) last += (t.shape()[axis] - 1) * t.strides()[axis];
    const auto bytes = int64_t(size_of(t.dtype()));
    return std::pair(t.storage_offset() * bytes, (last + 1) * bytes);
  };
  const auto [self_begin, self_end] = range(self);
  const auto [x_begin, x_end] = range(x);
  return self_begin < x_end && x_begin < self_end;
}

}  // namespace taper::ops
