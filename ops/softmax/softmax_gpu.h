#pragma once
// The GPU's softmax; softmax.cpp has checked the arguments.

#include "taper/core/tensor.h"

namespace taper::ops {

/// x and y: dense, equal strides and floating dtype, at least one element. Only enqueues, on the current
/// stream.
void softmax_gpu(const Tensor& x, const Tensor& y, int64_t axis, bool logarithm);

}  // namespace taper::ops
