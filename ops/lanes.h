#pragma once
// A tensor seen along one axis: softmax, cross entropy and the index ops all walk lanes.

#include "taper/core/tensor.h"

namespace taper::ops {

/// `outer * inner` lanes of `size` elements each; a lane's elements lie `inner` apart in memory.
struct Lanes {
  int64_t outer, size, inner;

  int64_t count() const { return outer * inner; }
  /// Returns the offset of a lane's first element, in elements. Lanes count up in memory order.
  int64_t start(int64_t lane) const { return lane / inner * (size * inner) + lane % inner; }
};

/// Returns the lanes of a dense tensor. If it is row-major, or channels_last with axis 1, then lane l belongs
/// to position l of the other axes in row-major order.
inline Lanes lanes_of(const Tensor& dense, int64_t axis) {
  if (dense.dim() == 0) return {1, 1, 1};
  const int64_t size = dense.shape()[axis];
  if (dense.is_contiguous()) {
    int64_t outer = 1, inner = 1;
    for (int64_t i = 0; i < axis; ++i) outer *= dense.shape()[i];
    for (int64_t i = axis + 1; i < dense.dim(); ++i) inner *= dense.shape()[i];
    return {outer, size, inner};
  }
  // Everything with a smaller stride lies within one step along the axis.
  const int64_t inner = size == 1 ? 1 : dense.strides()[axis];
  return {dense.numel() / (size * inner), size, inner};
}

/// Lanes per parallel piece, so that a piece has about 16,384 elements whatever the number of threads.
inline int64_t lane_grain(const Lanes& lanes) {
  return lanes.size >= 16384 ? 1 : 16384 / (lanes.size > 0 ? lanes.size : 1);
}

}  // namespace taper::ops
