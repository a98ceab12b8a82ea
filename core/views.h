#pragma once
// Views below the tape: new shape, strides and offset on the same storage. The Tensor methods with these
// names add the gradient on top. PyTorch's counterpart: ATen/native/TensorShape.cpp.

#include "taper/core/tensor.h"

namespace taper::views {

/// Returns any geometry on x's storage; `storage_offset` is in elements. Throws Error if it reaches past the
/// storage.
Tensor as_strided(const Tensor& x, const Shape& shape, const Strides& strides, int64_t storage_offset);
/// Returns x's geometry on x's storage, without x's history.
Tensor alias(const Tensor& x);

/// One size may be -1. Throws Error where x's strides do not allow the shape without a copy.
Tensor view(const Tensor& x, const Shape& shape);
/// Returns whether view() would succeed for a shape with x's number of elements.
bool can_view(const Tensor& x, const Shape& shape);
/// Replaces a -1 by the size that remains. Throws Error naming `op` if the element counts do not fit.
Shape infer_shape(const Tensor& x, const Shape& shape, std::string_view op);

Tensor permute(const Tensor& x, const Dims& axes);
Tensor transpose(const Tensor& x, int64_t a, int64_t b);
Tensor squeeze(const Tensor& x, int64_t axis);
Tensor unsqueeze(const Tensor& x, int64_t axis);
/// Stretches sizes of 1. -1 keeps a size. New axes may be put in front.
Tensor expand(const Tensor& x, const Shape& shape);
/// Negative bounds count from the end; bounds are clamped. step >= 1.
Tensor slice(const Tensor& x, int64_t axis, int64_t begin, int64_t end, int64_t step = 1);
Tensor narrow(const Tensor& x, int64_t axis, int64_t begin, int64_t length);
Tensor select(const Tensor& x, int64_t axis, int64_t index);

}  // namespace taper::views
