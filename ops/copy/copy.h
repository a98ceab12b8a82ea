#pragma once
// Moving values: between tensors, layouts, dtypes and devices, and out to C++. PyTorch's counterparts:
// ATen/native/Copy.cpp and TensorConversions.cpp.

#include <vector>

#include "taper/core/tensor.h"

namespace taper::ops {

/// Writes src, broadcast to dst's shape and converted to its dtype, into dst and bumps dst's version. Floats
/// go to integers by truncation, anything to bool by "not zero". Throws Error if src does not broadcast to
/// dst's shape or elements of dst share memory. With `non_blocking`, a copy between pinned CPU memory and a
/// GPU is only enqueued. (torch.Tensor.copy_)
void copy_(const Tensor& dst, const Tensor& src, bool non_blocking = false);

/// x itself if it lies in `format`'s order, else a copy that does. Throws Error for channels_last of a tensor
/// without 4 dimensions. (torch.Tensor.contiguous)
Tensor contiguous(const Tensor& x, MemoryFormat format = kContiguous);

/// x itself if it has that dtype, else a converted copy in the same memory format. (torch.Tensor.to)
Tensor cast(const Tensor& x, DType dtype);

/// A copy on its own storage, with x's strides if x is dense, else row-major. (torch.clone)
Tensor clone(const Tensor& x);

/// Sets all elements to `value`, truncated or rounded to x's dtype, and bumps x's version. Throws Error if
/// the dtype does not hold the value (see Scalar::as_element) or elements of x share memory.
/// (torch.Tensor.fill_)
void fill_(const Tensor& x, Scalar value);

/// x itself if it is on `device`, else a copy there with the same strides (row-major if x is not dense).
/// Throws Error if this build or machine has no such device. With `non_blocking`, a copy between pinned CPU
/// memory and a GPU is only enqueued, and a result on the CPU is in pinned memory. (torch.Tensor.to)
Tensor to_device(const Tensor& x, Device device, bool non_blocking = false);

/// x itself if it is in pinned memory, else a copy there. Throws Error for a tensor on a GPU.
/// (torch.Tensor.pin_memory)
Tensor pin_memory(const Tensor& x);

/// The one value of x: an integer for bool and integer dtypes, else a floating-point number. Throws Error
/// unless x has exactly one element.
Scalar item_as_scalar(const Tensor& x);
/// The one value of x as a T, exact for integers. Throws Error unless x has exactly one element, and if T
/// does not hold its value. (torch.Tensor.item)
template <class T = double>
T item(const Tensor& x) {
  return item_as_scalar(x).to<T>();
}

/// All values of x, from any device, layout and dtype, in row-major order, converted to T.
/// (torch.Tensor.tolist)
template <class T>
std::vector<T> to_vector(const Tensor& x) {
  const Tensor values = ops::contiguous(ops::cast(ops::to_device(x, Device()), dtype_of<T>));
  const T* data = values.data<T>();
  return std::vector<T>(data, data + values.numel());
}

}  // namespace taper::ops
