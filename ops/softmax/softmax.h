#pragma once
// Softmax and its logarithm along one axis. PyTorch's counterpart: ATen/native/SoftMax.cpp.

#include "taper/core/tensor.h"

namespace taper::ops {

/// exp(x) / sum(exp(x)) along `axis`. x: any shape, float; computed in f32 or wider. Returns x's shape, dtype
/// and memory order. Throws Error for other dtypes or an axis out of range. (torch.softmax)
Tensor softmax(const Tensor& x, int64_t axis);

/// x - log(sum(exp(x))) along `axis`, without overflow. Shapes, dtypes and errors as softmax.
/// (torch.log_softmax)
Tensor log_softmax(const Tensor& x, int64_t axis);

}  // namespace taper::ops
