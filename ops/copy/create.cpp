#include "taper/ops/copy/create.h"

#include <cmath>

#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/op_call.h"

namespace taper::ops {
namespace {

/// Computes on the CPU in the widest type, then converts and moves: these run once, never in a training step.
template <class T, class Value>
Tensor from_formula(int64_t count, const TensorOptions& options, Value value) {
  const Tensor values = empty({count}, {.dtype = dtype_of<T>});
  T* data = values.template data<T>();
  for (int64_t i = 0; i < count; ++i) data[i] = value(i);
  return to_device(cast(values, options.dtype), options.device);
}

}  // namespace

Tensor full(const Shape& shape, Scalar value, const TensorOptions& options) {
  const OpCall call("full");
  const Tensor result = empty(shape, options);
  fill_(result, value);
  return result;
}

Tensor zeros(const Shape& shape, const TensorOptions& options) {
  return full(shape, 0, options);
}

Tensor ones(const Shape& shape, const TensorOptions& options) {
  return full(shape, 1, options);
}

Tensor full_like(const Tensor& x, Scalar value) {
  const Tensor result = empty_like(x);
  fill_(result, value);
  return result;
}

Tensor zeros_like(const Tensor& x) {
  return full_like(x, 0);
}

Tensor ones_like(const Tensor& x) {
  return full_like(x, 1);
}

Tensor scalar_tensor(Scalar value, const TensorOptions& options) {
  return full({}, value, options);
}

Tensor arange(Scalar begin, Scalar end, Scalar step, const TensorOptions& options) {
  const double span = end.to_double() - begin.to_double();
  const double by = step.to_double();
  TAPER_CHECK(by != 0 && std::isfinite(span / by),
              "arange: from {} to {} in steps of {} is not a finite range", begin.to_double(),
              end.to_double(), by);
  TAPER_CHECK(span == 0 || (span > 0) == (by > 0),
              "arange: a step of {} leads away from {} when starting at {}", by, end.to_double(),
              begin.to_double());
  const bool integers = !begin.is_floating_point() && !end.is_floating_point() && !step.is_floating_point();
  const auto count = int64_t(std::ceil(span / by));
  if (integers) {
    return from_formula<int64_t>(count, options,
                                 [&](int64_t i) { return begin.to_int64() + i * step.to_int64(); });
  }
  return from_formula<double>(count, options, [&](int64_t i) { return begin.to_double() + double(i) * by; });
}

Tensor arange(Scalar begin, Scalar end, Scalar step) {
  const bool real = begin.is_floating_point() || end.is_floating_point() || step.is_floating_point();
  return arange(begin, end, step, {.dtype = real ? kFloat32 : kInt64});
}

Tensor arange(Scalar end) {
  return arange(0, end, 1);
}

Tensor linspace(double begin, double end, int64_t count, const TensorOptions& options) {
  TAPER_CHECK(count >= 0, "linspace: count must not be negative, got {}", count);
  const double step = count > 1 ? (end - begin) / double(count - 1) : 0;
  // Counted from the nearer end, so that both ends are exact.
  return from_formula<double>(count, options, [&](int64_t i) {
    return i < (count + 1) / 2 ? begin + double(i) * step : end - double(count - 1 - i) * step;
  });
}

Tensor eye(int64_t rows, int64_t columns, const TensorOptions& options) {
  if (columns == -1) columns = rows;
  const Tensor result = zeros({rows, columns}, options);
  const int64_t count = std::min(rows, columns);
  if (count > 0) fill_(views::as_strided(result, {count}, {columns + 1}, 0), 1);
  return result;
}

}  // namespace taper::ops
