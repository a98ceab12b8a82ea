#pragma once
// The CPU's pooling, in f32, f64, f16 or bf16 and channels_last memory; half types compute in f32. pool2d.cpp
// has checked the arguments and allocated the results.

#include <vector>

#include "taper/core/tensor.h"
#include "taper/ops/pool/pool_axis.h"

namespace taper::ops {

/// The windows that see one input position along an axis: first to last.
struct SeeingWindows {
  int32_t first = 0, last = -1;

  bool operator==(const SeeingWindows&) const = default;
};

/// Returns the windows of each input position. Finding them takes divisions, too slow for each pixel.
template <class Axis>
std::vector<SeeingWindows> seeing_windows(const Axis& axis) {
  std::vector<SeeingWindows> result;
  for (int32_t i = 0; i < axis.input; ++i) result.push_back({axis.first_window(i), axis.last_window(i)});
  return result;
}

/// indices: receives the indices of the maxima, unless undefined.
void max_pool2d_cpu(const Tensor& x, const MaxPoolAxes& axes, const Tensor& y, const Tensor& indices);
/// Both throw Error if an index lies outside the image.
void max_pool2d_backward_cpu(const Tensor& grad, const Tensor& indices, const MaxPoolAxes& axes,
                             const Tensor& grad_x);
void max_pool2d_gather_cpu(const Tensor& x, const Tensor& indices, const Tensor& y);

void avg_pool2d_cpu(const Tensor& x, const AveragePoolAxes& axes, const Tensor& y);
void avg_pool2d_backward_cpu(const Tensor& grad, const AveragePoolAxes& axes, const Tensor& grad_x);

}  // namespace taper::ops
