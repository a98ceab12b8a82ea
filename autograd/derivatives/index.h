#pragma once
// Differentiable indexing, joining and splitting. Shapes and errors are documented in ops/index/index.h and
// join.h. PyTorch's counterpart: the index, cat and pad entries of derivatives.yaml.

#include <vector>

#include "taper/core/tensor.h"
#include "taper/ops/index/index.h"

namespace taper {

/// The slices of x along `axis` at the indices `index`, [K] i64.
Tensor index_select(const Tensor& x, int64_t axis, const Tensor& index);
/// x with source's slice k added to its slice index[k] along `axis`.
Tensor index_add(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& source);
/// result[i][j][k] = x[i][index[i][j][k]][k] for axis 1.
Tensor gather(const Tensor& x, int64_t axis, const Tensor& index);
/// x with x[i][index[i][j][k]][k] += source[i][j][k] for axis 1.
Tensor scatter_add(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& source);

/// The tensors one after another along `axis`.
Tensor cat(const std::vector<Tensor>& tensors, int64_t axis = 0);
/// Tensors of one shape side by side along a new axis.
Tensor stack(const std::vector<Tensor>& tensors, int64_t axis = 0);
/// Views of `size` elements each along `axis`; the last may be smaller.
std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t axis = 0);
/// Views of the given sizes, which add up to the axis.
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t axis = 0);
/// At most `count` views of equal size, but for a smaller last one.
std::vector<Tensor> chunk(const Tensor& x, int64_t count, int64_t axis = 0);

/// A copy with the order along each of `axes` reversed.
Tensor flip(const Tensor& x, const Dims& axes);
/// A copy with `value` around it; padding {left, right, top, bottom, ...}, last axis first.
Tensor pad(const Tensor& x, const std::vector<int64_t>& padding, Scalar value = 0);

// Without derivative.
using ops::one_hot;

}  // namespace taper
