#pragma once
// How the CPU's updates walk the elements of many tensors, in one parallel region. For *_cpu.cpp files only.

#include <algorithm>
#include <vector>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"
#include "taper/core/tensor.h"
#include "taper/ops/copy/strided_loop.h"

namespace taper::ops {

/// Elements per parallel piece, counted over all tensors of a list.
inline constexpr int64_t kPieceSize = 32768;

/// A list of tensors as one long row of elements, cut into pieces. A piece holds many small tensors or part
/// of one.
class TensorRow {
 public:
  explicit TensorRow(const std::vector<Tensor>& tensors) {
    for (const Tensor& x : tensors) ends_.push_back((ends_.empty() ? 0 : ends_.back()) + x.numel());
  }
  int64_t pieces() const { return ends_.empty() ? 0 : ceil_div(ends_.back(), kPieceSize); }

  /// Calls body(i, begin, end) for the elements of each tensor i that lie in `piece`.
  template <class Body>
  void visit(int64_t piece, Body&& body) const {
    int64_t at = piece * kPieceSize;
    const int64_t stop = std::min(at + kPieceSize, ends_.back());
    for (size_t i = size_t(std::upper_bound(ends_.begin(), ends_.end(), at) - ends_.begin()); at < stop;
         ++i) {
      const int64_t first = i == 0 ? 0 : ends_[i - 1];
      const int64_t until = std::min(ends_[i], stop);
      if (until > at) body(i, at - first, until - first);
      at = until;
    }
  }

 private:
  std::vector<int64_t> ends_;  ///< where each tensor's elements end in the row
};

/// Calls body.operator()<T>(i, begin, end) for ranges that cover all tensors, in one parallel region.
template <class Body>
void for_each_range(const std::vector<Tensor>& tensors, Body&& body) {
  const TensorRow row(tensors);
  parallel_chunks(row.pieces(), [&](int64_t piece) {
    row.visit(piece, [&](size_t i, int64_t begin, int64_t end) {
      dispatch_compute_float(tensors[i].dtype(), "optimizer",
                             [&]<class T>() { body.template operator()<T>(i, begin, end); });
    });
  });
}

/// Rounds elements [begin, end) of x to the tensor `copy`, which is laid out as x.
template <class T>
void round_range(const Tensor& x, const Tensor& copy, int64_t begin, int64_t end) {
  const LoopOperand to = {static_cast<char*>(copy.data_ptr()), copy.dtype(), {1}};
  store_block(to, {copy.numel()}, begin, end - begin, x.data<T>() + begin);
}

/// for_each_range(), which rounds each range to its copy before it leaves the first-level cache.
template <class Body>
void for_each_range(const std::vector<Tensor>& tensors, const std::vector<Tensor>& copies, Body&& body) {
  for_each_range(tensors, [&]<class T>(size_t i, int64_t begin, int64_t end) {
    if (copies.empty() || !copies[i].defined()) return body.template operator()<T>(i, begin, end);
    for (; begin < end; begin += kBlockSize) {
      const int64_t until = std::min(begin + kBlockSize, end);
      body.template operator()<T>(i, begin, until);
      round_range<T>(tensors[i], copies[i], begin, until);
    }
  });
}

}  // namespace taper::ops
