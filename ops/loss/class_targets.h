#pragma once
// The checks of losses that compare scores per class with class indices.

#include <string_view>

#include "taper/core/tensor.h"

namespace taper::ops {

/// Where the classes are: axis 1 of [N, C, ...], axis 0 of [C].
inline int64_t class_axis(const Tensor& scores) {
  return scores.dim() == 1 ? 0 : 1;
}

/// Throws Error naming `op` unless scores (called `name`) are [N, C, ...] or [C] and floating point, target
/// is i64 of that shape without C with values 0..C-1 or ignore_index (checked here on the CPU, by the kernels
/// on the GPU), and weight is undefined or [C] and floating point.
void check_class_targets(std::string_view op, std::string_view name, const Tensor& scores,
                         const Tensor& target, const Tensor& weight, int64_t ignore_index);

}  // namespace taper::ops
