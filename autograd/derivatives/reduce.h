#pragma once
// Differentiable reductions; axes, dtypes and errors as documented with the ops of the same names in
// ops/reduce/reduce.h. PyTorch's counterpart: derivatives.yaml and FunctionsManual.cpp.

#include "taper/core/tensor.h"
#include "taper/ops/reduce/reduce.h"

namespace taper {

Tensor sum(const Tensor& x, const Dims& axes = {}, bool keepdim = false,
           std::optional<DType> result_dtype = {});
Tensor mean(const Tensor& x, const Dims& axes = {}, bool keepdim = false);
Tensor var(const Tensor& x, const Dims& axes = {}, int64_t correction = 1, bool keepdim = false);
/// The gradient at 0 is 0.
Tensor std(const Tensor& x, const Dims& axes = {}, int64_t correction = 1, bool keepdim = false);
/// The gradient at 0 is 0.
Tensor norm(const Tensor& x, const Dims& axes = {}, bool keepdim = false);
/// Equal extremes share the gradient.
Tensor amax(const Tensor& x, const Dims& axes = {}, bool keepdim = false);
Tensor amin(const Tensor& x, const Dims& axes = {}, bool keepdim = false);

using ops::ValuesAndIndices;
/// The gradient goes to the element at `indices`.
ValuesAndIndices max(const Tensor& x, int64_t axis, bool keepdim = false);
ValuesAndIndices min(const Tensor& x, int64_t axis, bool keepdim = false);
ValuesAndIndices topk(const Tensor& x, int64_t k, int64_t axis = -1, bool largest = true);

/// Undoes broadcasting: its derivative is expand, and expand's is sum_to.
Tensor sum_to(const Tensor& x, const Shape& shape);

// Without derivative.
using ops::all;
using ops::any;
using ops::argmax;
using ops::argmin;

}  // namespace taper
