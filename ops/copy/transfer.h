#pragma once
// Copies between the CPU and a GPU, and between GPUs. PyTorch's counterpart: ATen/native/cuda/Copy.cu.

#include "taper/core/tensor.h"

namespace taper::ops {

/// Writes src into dst, converted to dst's dtype. One shape with at least one element, any strides (src may
/// repeat elements), two devices. Runs on the current stream of the GPU, of src's for two. Returns when the
/// copy is done, unless `non_blocking` and the CPU's side is pinned; between GPUs it never waits.
void transfer(const Tensor& dst, const Tensor& src, bool non_blocking);

}  // namespace taper::ops
