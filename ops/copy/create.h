#pragma once
// New tensors of known values. taper:: has functions of the same names. PyTorch's counterpart:
// ATen/native/TensorFactories.cpp.

#include "taper/core/tensor.h"

namespace taper::ops {

/// Returns f32 on the CPU unless the options say otherwise: zeros({2, 3}, {.dtype = kFloat64}).
Tensor zeros(const Shape& shape, const TensorOptions& options = {});
Tensor ones(const Shape& shape, const TensorOptions& options = {});
Tensor full(const Shape& shape, Scalar value, const TensorOptions& options = {});

/// Returns a tensor with the shape, dtype, device and (if dense) strides of x.
Tensor zeros_like(const Tensor& x);
Tensor ones_like(const Tensor& x);
Tensor full_like(const Tensor& x, Scalar value);

/// Returns a tensor without dimensions.
Tensor scalar_tensor(Scalar value, const TensorOptions& options = {});

// All functions below throw Error for a number that does not fit the dtype; see Scalar::as_element.

/// Returns begin, begin + step, ... up to but not including end; i64 if all three are integers, else f32.
/// Throws Error if step is 0 or leads away from end. (torch.arange)
Tensor arange(Scalar begin, Scalar end, Scalar step = 1);
/// Returns 0, 1, ..., end - 1.
Tensor arange(Scalar end);
/// Returns begin, begin + step, ... in a given dtype.
Tensor arange(Scalar begin, Scalar end, Scalar step, const TensorOptions& options);

/// Returns `count` evenly spaced values from begin to end, both included; begin alone for a count of 1.
/// Throws Error if count is negative. (torch.linspace)
Tensor linspace(double begin, double end, int64_t count, const TensorOptions& options = {});

/// Returns [rows, columns] with ones on the diagonal; columns = rows if left out. (torch.eye)
Tensor eye(int64_t rows, int64_t columns = -1, const TensorOptions& options = {});

}  // namespace taper::ops
