#pragma once
// Rows of numbers as a tensor of a SavedState, for what is saved as a table.

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "taper/core/base/error.h"
#include "taper/nn/optim/saved_state.h"
#include "taper/ops/copy/copy.h"

namespace taper {

template <size_t columns>
using SavedRow = std::array<double, columns>;

/// Returns row_of(item) for each item, as a tensor [items, columns] f64.
template <size_t columns, class Item>
Tensor tensor_of_rows(const std::vector<Item>& items, SavedRow<columns> (*row_of)(const Item& item)) {
  std::vector<double> values;
  for (const Item& item : items) {
    const SavedRow<columns> row = row_of(item);
    values.insert(values.end(), row.begin(), row.end());
  }
  return from_vector(values, {int64_t(items.size()), int64_t(columns)});
}

/// Returns read(row) for each row of the tensor `name`. Throws Error, naming `owner`, if there is no such tensor.
template <size_t columns, class Item>
std::vector<Item> items_of_rows(const SavedState& state, const char* name, const char* owner,
                                Item (*read)(const SavedRow<columns>& row)) {
  const auto found = state.tensors.find(name);
  TAPER_CHECK(found != state.tensors.end() && found->second.dtype() == kFloat64 && found->second.dim() == 2 &&
                  found->second.size(1) == int64_t(columns),
              "{}: the saved state has no {}", owner, name);
  const std::vector<double> values = ops::to_vector<double>(found->second);
  std::vector<Item> items;
  SavedRow<columns> row;
  for (size_t i = 0; i < values.size(); i += columns) {
    std::copy_n(values.begin() + ptrdiff_t(i), columns, row.begin());
    items.push_back(read(row));
  }
  return items;
}

}  // namespace taper
