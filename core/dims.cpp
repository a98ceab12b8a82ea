#include "taper/core/dims.h"

#include <fmt/format.h>

namespace taper {

std::string Dims::str() const {
  return fmt::format("[{}]", fmt::join(begin(), end(), ", "));
}

int64_t numel(const Shape& shape) {
  int64_t count = 1;
  bool overflow = false;
  for (const int64_t size : shape) {
    TAPER_CHECK(size >= 0, "shape {} has a negative size", shape);
    if (size == 0) return 0;
    overflow |= __builtin_mul_overflow(count, size, &count) || count > int64_t(1) << 62;
  }
  TAPER_CHECK(!overflow, "shape {} has more than 2^62 elements", shape);
  return count;
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
