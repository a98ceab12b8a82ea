#pragma once
// The GPU's elementwise operations. elementwise.cpp has checked the arguments.

#include "taper/ops/elementwise/elementwise_op.h"

namespace taper::ops {

/// As elementwise_cpu, for a nonempty `out` on a GPU. Inputs are on its device, or are numbers: CPU tensors
/// of one element (expanded to out's shape), which travel with the launch. Enqueues on the current stream.
void elementwise_gpu(ElementwiseOp op, const Tensor& out, std::span<const Tensor> inputs, DType compute);

}  // namespace taper::ops
