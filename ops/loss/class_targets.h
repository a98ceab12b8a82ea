#pragma once
// The checks of losses that compare scores per class with class indices.

#include <string_view>

#include "taper/core/tensor.h"

namespace taper::ops {

/// Returns the axis of the classes: axis 1 of [N, C, ...], axis 0 of [C].
inline int64_t class_axis(const Tensor& scores) {
  return scores.dim() == 1 ? 0 : 1;
}

/// Throws Error naming `op` unless the arguments fit together. scores (called `name`): [N, C, ...] or [C],
/// floating point. target: i64, scores' shape without C, values 0..C-1 or ignore_index; values are checked
/// here on the CPU, and by the kernels on the GPU. weight: undefined or [C], floating point.
void check_class_targets(std::string_view op, std::string_view name, const Tensor& scores,
                         const Tensor& target, const Tensor& weight, int64_t ignore_index);

/// Throws Error naming `op` unless weight is undefined or [C], floating point, for the C classes of scores (called
/// `name`).
void check_class_weight(std::string_view op, std::string_view name, const Tensor& scores,
                        const Tensor& weight);

}  // namespace taper::ops
