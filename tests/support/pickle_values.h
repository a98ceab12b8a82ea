#pragma once
// Whether saved values are equal, to the bit.

#include <algorithm>
#include <cstring>

#include "taper/nn/io/pickle_value.h"
#include "taper/ops/copy/copy.h"

namespace taper {

/// Returns whether both have one dtype, shape and bits; the strides may differ.
inline bool are_equal(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || !(a.shape() == b.shape())) return false;
  const Tensor x = ops::contiguous(a), y = ops::contiguous(b);
  return x.numel() == 0 || std::memcmp(x.data_ptr(), y.data_ptr(), x.size_bytes()) == 0;
}

inline bool are_equal(const PickleValue& a, const PickleValue& b) {
  if (a.content().index() != b.content().index()) return false;
  const auto all_equal = [](const PickleValue::List& x, const PickleValue::List& y) {
    return std::ranges::equal(x, y,
                              [](const PickleValue& p, const PickleValue& q) { return are_equal(p, q); });
  };
  if (a.is<Tensor>()) return are_equal(a.get<Tensor>(), b.get<Tensor>());
  if (a.is<ForeignTensor>()) return a.describe() == b.describe();
  if (a.is<PickleValue::List>() || a.is<PickleValue::Tuple>()) return all_equal(a.items(), b.items());
  if (a.is<PickleValue::Dict>())
    return std::ranges::equal(a.get<PickleValue::Dict>(), b.get<PickleValue::Dict>(),
                              [](const PickleEntry& x, const PickleEntry& y) {
                                return are_equal(x.key, y.key) && are_equal(x.value, y.value);
                              });
  if (a.is<bool>()) return a.get<bool>() == b.get<bool>();
  if (a.is<int64_t>()) return a.get<int64_t>() == b.get<int64_t>();
  if (a.is<double>()) return a.get<double>() == b.get<double>();
  if (a.is<std::string>()) return a.get<std::string>() == b.get<std::string>();
  return true;  // None
}

}  // namespace taper
