#pragma once
// The CPU's pooling: float or double in channels_last memory; pool2d.cpp has checked everything.

#include <vector>

#include "taper/ops/pool/pool2d.h"
#include "taper/ops/pool/pool_axis.h"

namespace taper::ops {

struct PoolWindows {
  std::vector<PoolWindow> rows;     ///< one for each output row
  std::vector<PoolWindow> columns;  ///< one for each output column
};

/// y and, if wanted, indices are allocated. options.stride is not 0.
void max_pool2d_cpu(const Tensor& x, const MaxPool2dOptions& options, const Tensor& y, const Tensor& indices);
/// Both throw Error if an index lies outside the image.
void max_pool2d_backward_cpu(const Tensor& grad, const Tensor& indices, const Tensor& grad_x);
void max_pool2d_gather_cpu(const Tensor& x, const Tensor& indices, const Tensor& y);

void avg_pool2d_cpu(const Tensor& x, const PoolWindows& windows, const Tensor& y);
void avg_pool2d_backward_cpu(const Tensor& grad, const PoolWindows& windows, const Tensor& grad_x);

}  // namespace taper::ops
