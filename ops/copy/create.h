#pragma once
// New tensors of known values. taper:: has the same functions. PyTorch's counterpart:
// ATen/native/TensorFactories.cpp.

#include "taper/core/tensor.h"

namespace taper::ops {

/// f32 on the CPU unless the options say otherwise: zeros({2, 3}, {.dtype = kFloat64}).
Tensor zeros(const Shape& shape, const TensorOptions& options = {});
Tensor ones(const Shape& shape, const TensorOptions& options = {});
Tensor full(const Shape& shape, Scalar value, const TensorOptions& options = {});

/// With the shape, dtype, device and (if dense) strides of x.
Tensor zeros_like(const Tensor& x);
Tensor ones_like(const Tensor& x);
Tensor full_like(const Tensor& x, Scalar value);

/// A tensor without dimensions.
Tensor scalar_tensor(Scalar value, const TensorOptions& options = {});

// All throw Error for a number that the dtype does not hold; see Scalar::as_element.

/// begin, begin + step, ... up to but not including end; i64 if all three are integers, else f32. Throws
/// Error if step is 0 or leads away from end. (torch.arange)
Tensor arange(Scalar begin, Scalar end, Scalar step = 1);
/// 0, 1, ..., end - 1.
Tensor arange(Scalar end);
/// As above, in a given dtype.
Tensor arange(Scalar begin, Scalar end, Scalar step, const TensorOptions& options);

/// `count` evenly spaced values from begin to end, both included; begin alone for a count of 1. Throws Error
/// if count is negative. (torch.linspace)
Tensor linspace(double begin, double end, int64_t count, const TensorOptions& options = {});

/// [rows, columns] with ones on the diagonal; columns = rows if left out. (torch.eye)
Tensor eye(int64_t rows, int64_t columns = -1, const TensorOptions& options = {});

}  // namespace taper::ops
