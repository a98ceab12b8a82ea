#pragma once
// The CPU's copy and fill; the checks are made in copy.cpp.

#include "taper/core/tensor.h"

namespace taper::ops {

/// dst and src have one shape; they do not overlap.
void copy_cpu(const Tensor& dst, const Tensor& src);
/// `value` is an element of x's dtype.
void fill_cpu(const Tensor& x, Scalar value);

}  // namespace taper::ops
