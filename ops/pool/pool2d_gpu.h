#pragma once
// The GPU's pooling, in f32, f64, f16 or bf16 and channels_last memory. pool2d.cpp has checked the arguments
// and allocated the results. All functions only enqueue, on the current stream of the tensors' device. An
// index outside the image ends the kernel (core/gpu/device_check.h).

#include "taper/core/tensor.h"
#include "taper/ops/pool/pool_axis.h"

namespace taper::ops {

/// indices: receives the indices of the maxima, unless undefined.
void max_pool2d_gpu(const Tensor& x, const MaxPoolAxes& axes, const Tensor& y, const Tensor& indices);
/// Each index lies in its window.
void max_pool2d_backward_gpu(const Tensor& grad, const Tensor& indices, const MaxPoolAxes& axes,
                             const Tensor& grad_x);
void max_pool2d_gather_gpu(const Tensor& x, const Tensor& indices, const Tensor& y);

void avg_pool2d_gpu(const Tensor& x, const AveragePoolAxes& axes, const Tensor& y);
void avg_pool2d_backward_gpu(const Tensor& grad, const AveragePoolAxes& axes, const Tensor& grad_x);

}  // namespace taper::ops
