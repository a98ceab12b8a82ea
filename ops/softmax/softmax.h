#pragma once
// Softmax and its logarithm along one axis. PyTorch's counterpart: ATen/native/SoftMax.cpp.

#include "taper/core/tensor.h"

namespace taper::ops {

/// Returns exp(x) / sum(exp(x)) along `axis`, in x's shape, dtype and memory order. x: any shape, float;
/// computed in f32 or wider. Throws Error for other dtypes or an axis out of range. (torch.softmax)
Tensor softmax(const Tensor& x, int64_t axis);

/// Returns x - log(sum(exp(x))) along `axis`, without overflow. Shapes, dtypes and errors as for softmax.
/// (torch.log_softmax)
Tensor log_softmax(const Tensor& x, int64_t axis);

}  // namespace taper::ops
