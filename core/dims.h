#pragma once  // spine 1 (docs/0-the-spine.md)
// A short list of integers kept in place: shapes, strides and axes without heap traffic. PyTorch's
// counterpart: c10/core/impl/SizesAndStrides.h.

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "taper/core/base/error.h"

namespace taper {

/// The most dimensions a tensor has. Images need 4, batched attention 5; 8 leaves room and keeps Dims small.
inline constexpr int kMaxDims = 8;

class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<int64_t> values) : Dims(std::span(values.begin(), values.size())) {}
  Dims(std::span<const int64_t> values) {
    TAPER_CHECK(values.size() <= size_t(kMaxDims), "a tensor has at most {} dimensions, got {}", kMaxDims,
                values.size());
    size_ = int(values.size());
    std::copy(values.begin(), values.end(), values_);
  }
  /// Returns `count` entries of `value`.
  static Dims filled(int64_t count, int64_t value) {
    Dims dims;
    for (int64_t i = 0; i < count; ++i) dims.push_back(value);
    return dims;
  }

  int64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  int64_t& operator[](int64_t i) { return values_[i]; }
  int64_t operator[](int64_t i) const { return values_[i]; }
  int64_t* begin() { return values_; }
  int64_t* end() { return values_ + size_; }
  const int64_t* begin() const { return values_; }
  const int64_t* end() const { return values_ + size_; }
  int64_t back() const { return values_[size_ - 1]; }

  void push_back(int64_t value) {
    TAPER_CHECK(size_ < kMaxDims, "a tensor has at most {} dimensions", kMaxDims);
    values_[size_++] = value;
  }
  void insert(int64_t position, int64_t value) {
    push_back(value);
    std::rotate(begin() + position, end() - 1, end());
  }
  void erase(int64_t position) {
    std::copy(begin() + position + 1, end(), begin() + position);
    --size_;
  }
  bool contains(int64_t value) const { return std::find(begin(), end(), value) != end(); }

  bool operator==(const Dims& other) const { return std::equal(begin(), end(), other.begin(), other.end()); }

  /// Returns text like "[8, 3, 224, 224]".
  std::string str() const;

 private:
  int64_t values_[kMaxDims] = {};
  int size_ = 0;
};

using Shape = Dims;
using Strides = Dims;

// Sizes and strides come from users and from files, so all arithmetic on them is checked, here. The bounds
// below keep sums of two sizes, and products with a dtype's size, within int64_t.

/// The most elements that a tensor has, and the farthest that its strides reach.
inline constexpr int64_t kMaxElements = int64_t(1) << 59;

/// Returns the product of all sizes; 1 for a scalar's empty shape. Throws Error for a negative size, and when
/// the nonzero sizes, from which strides are made, multiply to more than kMaxElements.
int64_t numel(const Shape& shape);
/// Returns how many elements of memory a tensor spans: 1 + the offset of its last element, 0 if it has none.
/// Does not check sizes; numel() does. Throws Error naming `op` for lists of different length, a negative
/// stride, or a stride that leads past kMaxElements.
int64_t span_of(const Shape& shape, const Strides& strides, std::string_view op);
/// Return a + b and a * b. Throw Error naming `op` if the result does not fit int64_t.
int64_t checked_add(int64_t a, int64_t b, std::string_view op);
int64_t checked_mul(int64_t a, int64_t b, std::string_view op);
/// Maps -dim..dim-1 to 0..dim-1. A scalar accepts 0 and -1. Throws Error naming `op` for any other axis.
int64_t normalize_axis(int64_t axis, int64_t dim, std::string_view op);
/// Returns the shape two operands broadcast to, by NumPy's rule. Throws Error naming `op` when they do not
/// fit.
Shape broadcast_shapes(const Shape& a, const Shape& b, std::string_view op);

}  // namespace taper

template <>
struct fmt::formatter<taper::Dims> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const taper::Dims& dims, Context& ctx) const {
    return fmt::formatter<std::string>::format(dims.str(), ctx);
  }
};
