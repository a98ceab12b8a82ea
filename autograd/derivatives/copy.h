#pragma once
// Differentiable copies: other dtype, device, layout or storage, same values. PyTorch's counterparts:
// ATen/native/TensorConversions.cpp, Copy.cpp and their entries in derivatives.yaml.

#include "taper/core/tensor.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"

namespace taper {

/// x in `format`'s order; x itself if it already is.
Tensor contiguous(const Tensor& x, MemoryFormat format = kContiguous);
/// x converted to `dtype` (truncating for integers); x itself if it already is.
Tensor cast(const Tensor& x, DType dtype);
/// x on `device`; x itself if it already is. For `non_blocking` see Tensor::to.
Tensor to_device(const Tensor& x, Device device, bool non_blocking = false);
/// A copy on its own storage, dense, in x's memory format.
Tensor clone(const Tensor& x);

/// self = source, broadcast and converted. Throws Error if source does not broadcast to self's shape.
void copy_(const Tensor& self, const Tensor& source, bool non_blocking = false);
void fill_(const Tensor& self, Scalar value);

// Without derivative: new tensors and plain values.
using ops::arange;
using ops::eye;
using ops::full;
using ops::full_like;
using ops::linspace;
using ops::ones;
using ops::ones_like;
using ops::pin_memory;
using ops::to_vector;
using ops::zeros;
using ops::zeros_like;

}  // namespace taper
