#include "taper/core/dims.h"

#include <fmt/format.h>

namespace taper {

std::string Dims::str() const {
  return fmt::format("[{}]", fmt::join(begin(), end(), ", "));
}

int64_t numel(const Shape& shape) {
  int64_t count = 1;
  bool overflow = false, empty = false;
  for (const int64_t size : shape) {
    TAPER_CHECK(size >= 0, "shape {} has a negative size", shape);
    empty |= size == 0;
    overflow |= __builtin_mul_overflow(count, std::max<int64_t>(size, 1), &count) || count > kMaxElements;
  }
  TAPER_CHECK(!overflow, "shape {} is too large: its sizes multiply to more than 2^59", shape);
  return empty ? 0 : count;
}

int64_t span_of(const Shape& shape, const Strides& strides, std::string_view op) {
  TAPER_CHECK(shape.size() == strides.size(), "{}: shape {} and strides {} differ in length", op, shape,
              strides);
  int64_t last = 0;
  bool overflow = false, empty = false;
  for (int64_t axis = 0; axis < shape.size(); ++axis) {
    TAPER_CHECK(strides[axis] >= 0, "{}: strides {} must not be negative", op, strides);
    empty |= shape[axis] <= 0;
    int64_t reach = 0;
    overflow |= strides[axis] > kMaxElements ||
                __builtin_mul_overflow(std::max<int64_t>(shape[axis] - 1, 0), strides[axis], &reach) ||
                __builtin_add_overflow(last, reach, &last) || last >= kMaxElements;
  }
  TAPER_CHECK(!overflow, "{}: shape {} with strides {} reaches past 2^59 elements", op, shape, strides);
  return empty ? 0 : last + 1;
}

int64_t checked_add(int64_t a, int64_t b, std::string_view op) {
  int64_t sum = 0;
  TAPER_CHECK(!__builtin_add_overflow(a, b, &sum), "{}: {} + {} is too large", op, a, b);
  return sum;
}

int64_t checked_mul(int64_t a, int64_t b, std::string_view op) {
  int64_t product = 0;
  TAPER_CHECK(!__builtin_mul_overflow(a, b, &product), "{}: {} * {} is too large", op, a, b);
  return product;
}

int64_t normalize_axis(int64_t axis, int64_t dim, std::string_view op) {
  const int64_t limit = std::max<int64_t>(dim, 1);
  TAPER_CHECK(axis >= -limit && axis < limit, "{}: axis {} is out of range for a tensor of {} dimensions", op,
              axis, dim);
  return axis < 0 ? axis + limit : axis;
}

Shape broadcast_shapes(const Shape& a, const Shape& b, std::string_view op) {
  Shape result = Dims::filled(std::max(a.size(), b.size()), 1);
  for (int64_t i = 1; i <= result.size(); ++i) {
    const int64_t from_a = i <= a.size() ? a[a.size() - i] : 1;
    const int64_t from_b = i <= b.size() ? b[b.size() - i] : 1;
    TAPER_CHECK(from_a == from_b || from_a == 1 || from_b == 1,
                "{}: shapes {} and {} do not broadcast: sizes {} and {} differ and neither is 1", op, a, b,
                from_a, from_b);
    result[result.size() - i] = from_a == 1 ? from_b : from_a;
  }
  return result;
}

}  // namespace taper
