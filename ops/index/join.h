#pragma once
// Joining tensors and splitting them along an axis. PyTorch's counterparts: ATen/native/TensorShape.cpp (cat,
// stack, split), ATen/native/TensorTransformations.cpp (flip), ATen/native/PadNd.cpp.

#include <vector>

#include "taper/core/tensor.h"

namespace taper::ops {

/// Returns the tensors one after another along `axis`. They agree in all other sizes; dtypes are promoted.
/// The result is channels_last if all of them are, else row-major. Throws Error naming the tensor that does
/// not fit. (torch.cat)
Tensor cat(const std::vector<Tensor>& tensors, int64_t axis = 0);

/// Returns tensors of one shape side by side along a new axis. (torch.stack)
Tensor stack(const std::vector<Tensor>& tensors, int64_t axis = 0);

/// Returns views of `size` elements each along `axis`; the last may be smaller. (torch.split)
std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t axis = 0);
/// Returns views of the given sizes, which add up to the size of the axis. (torch.split)
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t axis = 0);
/// Returns at most `count` views of equal size; only the last may be smaller. (torch.chunk)
std::vector<Tensor> chunk(const Tensor& x, int64_t count, int64_t axis = 0);

/// Returns a copy with the order along each of `axes` reversed. (torch.flip)
Tensor flip(const Tensor& x, const Dims& axes);

/// Returns a copy with `value` around it. `padding`: {before, after} of the last axis, then of the one before
/// it, and so on: {left, right, top, bottom} for images; none negative. Keeps channels_last. Throws Error if
/// `value` does not fit x's dtype. (torch.nn.functional.pad)
Tensor pad(const Tensor& x, const std::vector<int64_t>& padding, Scalar value = 0);

}  // namespace taper::ops
