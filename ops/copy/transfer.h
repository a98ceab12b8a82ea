#pragma once
// Copies between the CPU and a GPU, and between GPUs. PyTorch's counterpart: ATen/native/cuda/Copy.cu.

#include "taper/core/tensor.h"

namespace taper::ops {

/// Writes src into dst, converted to dst's dtype. They have equal shapes with at least one element, any
/// strides (src may repeat elements) and different devices. Runs on the current stream of the GPU, or of
/// src's GPU if there are two. Returns when the copy is done, unless `non_blocking` and the CPU's side is
/// pinned. Between GPUs it never waits.
void transfer(const Tensor& dst, const Tensor& src, bool non_blocking);

}  // namespace taper::ops
