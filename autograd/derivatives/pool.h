#pragma once
// Differentiable pooling. Averages are linear, and so is the choice of the maxima once it is made; each
// function and its transpose are each other's derivatives, to any order.

#include "taper/core/tensor.h"
#include "taper/ops/pool/pool2d.h"

namespace taper {

/// Shapes, dtypes and errors as documented in ops/pool/pool2d.h.
Tensor max_pool2d(const Tensor& x, const MaxPool2dOptions& options);
/// Returns the index of each maximum too. (torch.nn.functional.max_pool2d, return_indices=True)
ops::MaxPool2dOutput max_pool2d_with_indices(const Tensor& x, const MaxPool2dOptions& options);
Tensor max_pool2d_backward(const Tensor& grad, const Tensor& indices, const Shape& input_shape,
                           const MaxPool2dOptions& options);
/// `options` are those that the indices were made with; the derivative needs them.
Tensor max_pool2d_gather(const Tensor& x, const Tensor& indices, const MaxPool2dOptions& options);

Tensor avg_pool2d(const Tensor& x, const AvgPool2dOptions& options);
Tensor avg_pool2d_backward(const Tensor& grad, const Shape& input_shape, const AvgPool2dOptions& options);

Tensor adaptive_avg_pool2d(const Tensor& x, IntPair output_size);
Tensor adaptive_avg_pool2d_backward(const Tensor& grad, const Shape& input_shape);

}  // namespace taper
