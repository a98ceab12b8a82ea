#pragma once
// Reductions over any axes: sums, extremes, moments, truth values.
//
// `axes` may be negative; an empty list means all of them. keepdim leaves reduced axes with size 1. Floats
// accumulate in f64, integers and bool in i64, in an order fixed by the shape alone, and the result is
// rounded once. Results are row-major. All throw Error for an axis that is out of range or given twice.
// PyTorch's counterparts: ATen/native/ReduceOps.cpp, TensorCompare.cpp, Sorting.cpp.

#include "taper/core/tensor.h"

namespace taper::ops {

/// Integers and bool give i64; the sum of nothing is 0.
Tensor sum(const Tensor& x, const Dims& axes = {}, bool keepdim = false);
/// Floating-point; the mean of nothing is NaN.
Tensor mean(const Tensor& x, const Dims& axes = {}, bool keepdim = false);
/// Sum of squared distances from the mean, divided by count - correction (NaN or infinity where that is not
/// positive). Floating-point. Two passes, so that a large mean costs no digits. (torch.var)
Tensor var(const Tensor& x, const Dims& axes = {}, int64_t correction = 1, bool keepdim = false);
/// The square root of var().
Tensor std(const Tensor& x, const Dims& axes = {}, int64_t correction = 1, bool keepdim = false);
/// Square root of the sum of squares. Floating-point. (torch.linalg.vector_norm)
Tensor norm(const Tensor& x, const Dims& axes = {}, bool keepdim = false);

/// Whether any (all) elements are not zero; bool. Of nothing: false (true).
Tensor any(const Tensor& x, const Dims& axes = {}, bool keepdim = false);
Tensor all(const Tensor& x, const Dims& axes = {}, bool keepdim = false);

/// The largest (smallest) elements; NaN if there is one. Throws Error for axes without elements.
Tensor amax(const Tensor& x, const Dims& axes = {}, bool keepdim = false);
Tensor amin(const Tensor& x, const Dims& axes = {}, bool keepdim = false);

struct ValuesAndIndices {
  Tensor values;
  Tensor indices;  ///< i64
};
/// The largest (smallest) element along one axis and its first position; the first NaN counts as both.
/// Throws Error if the axis has no elements. (torch.max with dim)
ValuesAndIndices max(const Tensor& x, int64_t axis, bool keepdim = false);
ValuesAndIndices min(const Tensor& x, int64_t axis, bool keepdim = false);
Tensor argmax(const Tensor& x, int64_t axis, bool keepdim = false);
Tensor argmin(const Tensor& x, int64_t axis, bool keepdim = false);

/// The k largest (smallest) elements along `axis`, best first, equal ones in order of position; NaN counts as
/// largest. Throws Error if the axis has fewer than k. (torch.topk)
ValuesAndIndices topk(const Tensor& x, int64_t k, int64_t axis = -1, bool largest = true);

/// Sums x over the axes in which a tensor of `shape` was broadcast to x's shape, so that the result has
/// `shape`; x itself if nothing is to be summed. Throws Error if `shape` does not broadcast to x's.
Tensor sum_to(const Tensor& x, const Shape& shape);

/// The sorted, non-negative form of `axes` for a tensor of `dim` dimensions: all of them for an empty list.
/// Throws Error naming `op` for an axis that is out of range or given twice.
Dims normalize_axes(const Dims& axes, int64_t dim, std::string_view op);
/// `shape` with size 1 in `axes` (normalized), or without these axes.
Shape reduced_shape(const Shape& shape, const Dims& axes, bool keepdim);

}  // namespace taper::ops
