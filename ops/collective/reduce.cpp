#include "taper/ops/collective/reduce.h"

#include <algorithm>

namespace taper::detail {
namespace {

/// As std::max, but NaN if either is NaN: a rank's NaN must reach all.
template <class T>
T larger(T a, T b) {
  return a >= b || a != a ? a : b;
}

template <class T, class X>
void reduce_typed(ReduceOp op, T* result, const X* x, int64_t count) {
  if (op == ReduceOp::kMax)
    for (int64_t i = 0; i < count; ++i) result[i] = larger(result[i], T(x[i]));
  else
    for (int64_t i = 0; i < count; ++i) result[i] += T(x[i]);
}

}  // namespace

void reduce_into(ReduceOp op, DType dtype, void* result, const void* x, int64_t count) {
  switch (dtype) {
    case kFloat32:
      return reduce_typed(op, static_cast<float*>(result), static_cast<const float*>(x), count);
    case kFloat64:
      return reduce_typed(op, static_cast<double*>(result), static_cast<const double*>(x), count);
    case kInt32:
      return reduce_typed(op, static_cast<int32_t*>(result), static_cast<const int32_t*>(x), count);
    case kInt64:
      return reduce_typed(op, static_cast<int64_t*>(result), static_cast<const int64_t*>(x), count);
    default:
      fail("cannot reduce elements of {}", dtype);
  }
}

void reduce_half_into(ReduceOp op, DType dtype, float* result, const void* x, int64_t count) {
  dtype == kFloat16 ? reduce_typed(op, result, static_cast<const Half*>(x), count)
                    : reduce_typed(op, result, static_cast<const BFloat16*>(x), count);
}

void narrow(DType dtype, const float* from, void* to, int64_t count) {
  const auto each = [&](auto* halves) {
    for (int64_t i = 0; i < count; ++i) halves[i] = std::remove_pointer_t<decltype(halves)>(from[i]);
  };
  dtype == kFloat16 ? each(static_cast<Half*>(to)) : each(static_cast<BFloat16*>(to));
}

void divide(DType dtype, void* data, int64_t count, int divisor) {
  const auto each = [&](auto* values) {
    using T = std::remove_pointer_t<decltype(values)>;
    const T factor = T(1) / T(divisor);
    for (int64_t i = 0; i < count; ++i) values[i] *= factor;
  };
  dtype == kFloat64 ? each(static_cast<double*>(data)) : each(static_cast<float*>(data));
}

}  // namespace taper::detail
