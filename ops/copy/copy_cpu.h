#pragma once
// The CPU's copy and fill. copy.cpp has checked the arguments.

#include "taper/core/tensor.h"

namespace taper::ops {

/// Copies src to dst. Their shapes are equal, and they do not overlap.
void copy_cpu(const Tensor& dst, const Tensor& src);
/// Fills x with `value`, which is an element of x's dtype.
void fill_cpu(const Tensor& x, Scalar value);

}  // namespace taper::ops
