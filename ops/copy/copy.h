#pragma once
// Moving values: between tensors, layouts, dtypes and devices, and out to C++. PyTorch's counterparts:
// ATen/native/Copy.cpp and TensorConversions.cpp.

#include <vector>

#include "taper/core/tensor.h"

namespace taper::ops {

/// Writes src, broadcast to dst's shape and converted to its dtype, into dst and bumps dst's version. Floats
/// become integers by truncation, anything becomes bool by "not zero". Throws Error if src does not broadcast
/// to dst's shape, or if elements of dst share memory. With `non_blocking`, a copy between pinned CPU memory
/// and a GPU is only enqueued. (torch.Tensor.copy_)
void copy_(const Tensor& dst, const Tensor& src, bool non_blocking = false);

/// Returns x itself if it lies in `format`'s order, else a copy that does. Throws Error for channels_last
/// unless x has 4 dimensions. (torch.Tensor.contiguous)
Tensor contiguous(const Tensor& x, MemoryFormat format = kContiguous);

/// Returns x itself if it has that dtype, else a converted copy in x's memory format. (torch.Tensor.to)
Tensor cast(const Tensor& x, DType dtype);

/// Returns a copy on its own storage, with x's strides if x is dense, else row-major. (torch.clone)
Tensor clone(const Tensor& x);

/// Sets all elements to `value`, truncated or rounded to x's dtype, and bumps x's version. Throws Error if
/// `value` does not fit the dtype (see Scalar::as_element), or if elements of x share memory.
/// (torch.Tensor.fill_)
void fill_(const Tensor& x, Scalar value);

/// Returns x itself if it is on `device`, else a copy there with x's strides (row-major if x is not dense).
/// Throws Error if this build or machine has no such device. With `non_blocking`, a copy between pinned CPU
/// memory and a GPU is only enqueued, and a result on the CPU is in pinned memory. (torch.Tensor.to)
Tensor to_device(const Tensor& x, Device device, bool non_blocking = false);

/// Returns x itself if it is in pinned memory, else a copy there. Throws Error for a tensor on a GPU.
/// (torch.Tensor.pin_memory)
Tensor pin_memory(const Tensor& x);

/// Returns the one value of x: an integer for bool and integer dtypes, else a floating-point number. Throws
/// Error unless x has exactly one element.
Scalar item_as_scalar(const Tensor& x);
/// Returns the one value of x as a T, exact for integers. Throws Error unless x has exactly one element, and
/// if its value does not fit T. (torch.Tensor.item)
template <class T = double>
T item(const Tensor& x) {
  return item_as_scalar(x).to<T>();
}

/// Returns all values of x, from any device, layout and dtype, in row-major order, converted to T.
/// (torch.Tensor.tolist)
template <class T>
std::vector<T> to_vector(const Tensor& x) {
  const Tensor values = ops::contiguous(ops::cast(ops::to_device(x, Device()), dtype_of<T>));
  const T* data = values.data<T>();
  return std::vector<T>(data, data + values.numel());
}

}  // namespace taper::ops
