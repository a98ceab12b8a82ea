#pragma once
// CPU code behind index.h. All tensors are row-major; shapes and indices have been checked.

#include "taper/core/tensor.h"

namespace taper::ops {

/// Returns the row-major position of the first value of index outside [0, limit); -1 if there is none.
int64_t find_out_of_range_cpu(const Tensor& index, int64_t limit);

void index_select_cpu(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& result);
void gather_cpu(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& result);
void one_hot_cpu(const Tensor& index, int64_t classes, const Tensor& result);

/// Add into self, which is neither of a half type nor bool.
void index_add_cpu(const Tensor& self, int64_t axis, const Tensor& index, const Tensor& source);
void scatter_add_cpu(const Tensor& self, int64_t axis, const Tensor& index, const Tensor& source);

}  // namespace taper::ops
