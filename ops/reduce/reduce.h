#pragma once
// Reductions over any axes: sums, extremes, moments, truth values.
//
// `axes` may be negative; an empty list means all axes. keepdim keeps reduced axes with size 1. Floats
// accumulate in f64, integers and bool in i64, in an order fixed by the shape alone; the result is rounded
// once. Results are row-major. All functions throw Error for an axis that is out of range or given twice.
// PyTorch's counterparts: ATen/native/ReduceOps.cpp, TensorCompare.cpp, Sorting.cpp.

#include <optional>

#include "taper/core/tensor.h"

namespace taper::ops {

/// The sum. Integers and bool give i64. The sum of no elements is 0. result_dtype: by default
/// x's; f32 for half types, whose sum it holds unrounded. Throws Error for any other.
Tensor sum(const Tensor& x, const Dims& axes = {}, bool keepdim = false,
           std::optional<DType> result_dtype = {});
/// The mean. Floating-point. The mean of no elements is NaN.
Tensor mean(const Tensor& x, const Dims& axes = {}, bool keepdim = false);
/// Sum of squared distances from the mean, divided by count - correction (NaN or infinity if that is not
/// positive). Floating-point. Takes two passes, so that a large mean costs no precision. (torch.var)
Tensor var(const Tensor& x, const Dims& axes = {}, int64_t correction = 1, bool keepdim = false);
/// The square root of var().
Tensor std(const Tensor& x, const Dims& axes = {}, int64_t correction = 1, bool keepdim = false);
/// Square root of the sum of squares. Floating-point. (torch.linalg.vector_norm)
Tensor norm(const Tensor& x, const Dims& axes = {}, bool keepdim = false);

/// Whether any (all) elements are not zero; bool. Of no elements: false (true).
Tensor any(const Tensor& x, const Dims& axes = {}, bool keepdim = false);
Tensor all(const Tensor& x, const Dims& axes = {}, bool keepdim = false);

/// The largest (smallest) elements; NaN if one is NaN. Throws Error for axes without elements.
Tensor amax(const Tensor& x, const Dims& axes = {}, bool keepdim = false);
Tensor amin(const Tensor& x, const Dims& axes = {}, bool keepdim = false);

struct ValuesAndIndices {
  Tensor values;
  Tensor indices;  ///< i64
};
/// The largest (smallest) element along one axis, and its first position. A NaN wins, the first one of
/// several. Throws Error if the axis has no elements. (torch.max with dim)
ValuesAndIndices max(const Tensor& x, int64_t axis, bool keepdim = false);
ValuesAndIndices min(const Tensor& x, int64_t axis, bool keepdim = false);
Tensor argmax(const Tensor& x, int64_t axis, bool keepdim = false);
Tensor argmin(const Tensor& x, int64_t axis, bool keepdim = false);

/// The k largest (smallest) elements along `axis`, best first, equal ones in order of position. NaN counts as
/// largest. Throws Error if the axis has fewer than k elements. (torch.topk)
ValuesAndIndices topk(const Tensor& x, int64_t k, int64_t axis = -1, bool largest = true);

/// Sums x over the axes along which a tensor of `shape` was broadcast to x's shape. Returns a tensor of
/// `shape`; x itself if there is nothing to sum. Throws Error if `shape` does not broadcast to x's.
Tensor sum_to(const Tensor& x, const Shape& shape);

/// Returns `axes` sorted and non-negative, for a tensor of `dim` dimensions; all axes for an empty list.
/// Throws Error naming `op` for an axis that is out of range or given twice.
Dims normalize_axes(const Dims& axes, int64_t dim, std::string_view op);
/// Returns `shape` with size 1 in `axes` (normalized), or without these axes.
Shape reduced_shape(const Shape& shape, const Dims& axes, bool keepdim);

}  // namespace taper::ops
