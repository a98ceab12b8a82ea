// The CPU's topk.

#include <algorithm>
#include <numeric>
#include <vector>

#include "taper/core/base/parallel.h"
#include "taper/ops/copy/strided_loop.h"
#include "taper/ops/reduce/reduce_cpu.h"

namespace taper::ops {
namespace {

/// Returns whether `a` comes before `b` among the best: NaN counts as largest.
template <class T>
bool ranks_before(T a, T b, bool largest) {
  if (a != a || b != b) return largest ? a != a && b == b : a == a && b != b;
  return largest ? a > b : a < b;
}

template <class T>
void topk_row(const T* x, int64_t size, int64_t k, bool largest, T* values, int64_t* indices,
              std::vector<int64_t>& order) {
  order.resize(size_t(size));
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int64_t a, int64_t b) {
    if (ranks_before(x[a], x[b], largest)) return true;
    return !ranks_before(x[b], x[a], largest) && a < b;
  });
  for (int64_t i = 0; i < k; ++i) {
    indices[i] = order[size_t(i)];
    values[i] = x[indices[i]];
  }
}

}  // namespace

void topk_cpu(const Tensor& values, const Tensor& indices, const Tensor& x, bool largest) {
  const int64_t size = x.size(-1), k = values.size(-1);
  dispatch(x.dtype(), [&]<class T>() {
    const T* from = x.data<T>();
    T* to = values.data<T>();
    parallel_for(x.numel() / size, std::max<int64_t>(kBlockSize / size, 1), [&](int64_t begin, int64_t end) {
      std::vector<int64_t> order;
      for (int64_t row = begin; row < end; ++row) {
        topk_row(from + row * size, size, k, largest, to + row * k, indices.data<int64_t>() + row * k, order);
      }
    });
  });
}

}  // namespace taper::ops
