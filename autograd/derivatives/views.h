#pragma once
// Differentiable views: the functions behind the Tensor methods of the same names, documented there. The
// gradient of a view is the view undone. PyTorch's counterpart: the view entries of derivatives.yaml.

#include "taper/core/tensor.h"

namespace taper {

Tensor view(const Tensor& x, const Shape& shape);
Tensor reshape(const Tensor& x, const Shape& shape);
/// Merges axes first..last into one.
Tensor flatten(const Tensor& x, int64_t first = 0, int64_t last = -1);
Tensor permute(const Tensor& x, const Dims& axes);
Tensor transpose(const Tensor& x, int64_t a, int64_t b);
Tensor squeeze(const Tensor& x, int64_t axis);
Tensor squeeze(const Tensor& x);
Tensor unsqueeze(const Tensor& x, int64_t axis);
Tensor expand(const Tensor& x, const Shape& shape);
Tensor slice(const Tensor& x, int64_t axis, int64_t begin, int64_t end = INT64_MAX, int64_t step = 1);
Tensor narrow(const Tensor& x, int64_t axis, int64_t begin, int64_t length);
Tensor select(const Tensor& x, int64_t axis, int64_t index);

}  // namespace taper
