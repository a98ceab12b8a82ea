#pragma once
// GPU code behind index.h. All tensors are row-major; shapes have been checked, and the kernels check the
// indices (device_check.h). All functions only enqueue, on the current stream.

#include "taper/core/tensor.h"

namespace taper::ops {

void index_select_gpu(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& result);
void gather_gpu(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& result);
void one_hot_gpu(const Tensor& index, int64_t classes, const Tensor& result);

/// Add into self, which is f32 for half-precision sources, and not bool.
void index_add_gpu(const Tensor& self, int64_t axis, const Tensor& index, const Tensor& source);
void scatter_add_gpu(const Tensor& self, int64_t axis, const Tensor& index, const Tensor& source);

}  // namespace taper::ops
