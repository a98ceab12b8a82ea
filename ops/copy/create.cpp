#include "taper/ops/copy/create.h"

#include <cmath>

#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/op_call.h"

namespace taper::ops {
namespace {

/// Computes on the CPU in the widest type, then converts and moves: creation runs once, never in a training
/// step.
template <class T, class Value>
Tensor from_formula(int64_t count, const TensorOptions& options, Value value) {
  const Tensor values = empty({count}, {.dtype = dtype_of<T>});
  T* data = values.template data<T>();
  for (int64_t i = 0; i < count; ++i) data[i] = value(i);
  return to_device(cast(values, options.dtype), options.device);
}

/// Throws Error if an end of a range does not fit the dtype. What lies between fits if both ends do.
void check_ends(std::string_view op, Scalar first, Scalar last, DType dtype) {
  for (const Scalar& end : {first, last}) end.as_element(dtype, op);
}

template <class T>
void check_step(T begin, T end, T step) {
  TAPER_CHECK(step != 0, "arange: from {} to {} in steps of {} is not a finite range", begin, end, step);
  TAPER_CHECK(begin == end || (end > begin) == (step > 0),
              "arange: a step of {} leads away from {} when starting at {}", step, end, begin);
}

/// arange of integers, exact in all 64 bits.
Tensor integer_steps(int64_t begin, int64_t end, int64_t step, const TensorOptions& options) {
  check_step(begin, end, step);
  // As an unsigned number, the distance between any two int64_t fits.
  const uint64_t distance = step > 0 ? uint64_t(end) - uint64_t(begin) : uint64_t(begin) - uint64_t(end);
  const uint64_t stride = step > 0 ? uint64_t(step) : -uint64_t(step);
  const uint64_t count = distance / stride + (distance % stride != 0 ? 1 : 0);
  TAPER_CHECK(count <= uint64_t(kMaxElements), "arange: from {} to {} in steps of {} are too many elements",
              begin, end, step);
  // i * step alone may not fit int64_t where the sum does. As unsigned numbers, both wrap around to the right
  // sum.
  const auto element = [&](int64_t i) { return int64_t(uint64_t(begin) + uint64_t(i) * uint64_t(step)); };
  if (count > 0) check_ends("arange", begin, element(int64_t(count) - 1), options.dtype);
  return from_formula<int64_t>(int64_t(count), options, element);
}

/// arange if any of the numbers is floating-point.
Tensor real_steps(double begin, double end, double step, const TensorOptions& options) {
  const double count = std::ceil((end - begin) / step);
  TAPER_CHECK(std::isfinite(count), "arange: from {} to {} in steps of {} is not a finite range", begin, end,
              step);
  check_step(begin, end, step);
  TAPER_CHECK(count <= double(kMaxElements), "arange: from {} to {} in steps of {} are too many elements",
              begin, end, step);
  if (count > 0) check_ends("arange", begin, begin + (count - 1) * step, options.dtype);
  return from_formula<double>(int64_t(count), options, [&](int64_t i) { return begin + double(i) * step; });
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
  const bool integers = !begin.is_floating_point() && !end.is_floating_point() && !step.is_floating_point();
  return integers ? integer_steps(begin.to_int64(), end.to_int64(), step.to_int64(), options)
                  : real_steps(begin.to_double(), end.to_double(), step.to_double(), options);
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
  check_ends("linspace", begin, end, options.dtype);
  const double step = count > 1 ? (end - begin) / double(count - 1) : 0;
  // Counts from the nearer end, so that both ends are exact.
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
