#pragma once
// Reading and adding at positions given by an index tensor. Indices are i64, count from 0, and are checked.
// On the CPU an Error names the first index out of range. On the GPU the kernel finds it and ends the
// device's work, as after a failed device assertion. PyTorch's counterpart:
// ATen/native/TensorAdvancedIndexing.cpp.

#include "taper/core/tensor.h"

namespace taper::ops {

/// Returns the slices of x along `axis` at index[0], index[1], ... x: any shape and dtype. index: [K] i64.
/// The result has x's shape with K in place of the axis, row-major. (torch.index_select)
Tensor index_select(const Tensor& x, int64_t axis, const Tensor& index);

/// Returns a copy of x with source's slice k added to its slice index[k] along `axis`. Repeated indices add
/// up, in the order of k. source: x's shape with K in place of the axis, x's dtype; numbers, not bool. Half
/// types add in f32. The adjoint of index_select. (torch.index_add)
Tensor index_add(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& source);

/// Returns result[i][j][k] = x[i][index[i][j][k]][k] for axis 1. index: i64, with x's number of dimensions,
/// no larger than x except along `axis`. The result has index's shape, row-major. (torch.gather)
Tensor gather(const Tensor& x, int64_t axis, const Tensor& index);

/// Returns a copy of x with x[i][index[i][j][k]][k] += source[i][j][k] for axis 1. Repeated positions add up,
/// in the order along the axis. source: index's shape, x's dtype; numbers, not bool. Half types add in f32.
/// The adjoint of gather. (torch.scatter_add)
Tensor scatter_add(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& source);

/// Returns 1 at each index, 0 elsewhere. index: any shape, i64, values 0..classes-1. The result is i64 and
/// has index's shape with `classes` appended. (torch.nn.functional.one_hot)
Tensor one_hot(const Tensor& index, int64_t classes);

}  // namespace taper::ops
