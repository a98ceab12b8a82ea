#include "taper/ops/softmax/softmax_cpu.h"

#include <algorithm>
#include <cmath>

#include "taper/core/parallel.h"
#include "taper/ops/elementwise/vector_math.h"
#include "taper/ops/lanes.h"

namespace taper::ops {
namespace {

/// The largest element is subtracted first, so that no exponential overflows; the sum is in f64.
template <class T>
void softmax_lane(const T* x, T* y, int64_t size, int64_t step, bool logarithm) {
  T largest = x[0];
  for (int64_t i = 1; i < size; ++i) largest = std::max(largest, x[i * step]);
  for (int64_t i = 0; i < size; ++i) y[i * step] = vector_math::exp(x[i * step] - largest);
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += double(y[i * step]);
  if (logarithm) {
    const T log_sum = T(std::log(sum));
    for (int64_t i = 0; i < size; ++i) y[i * step] = x[i * step] - largest - log_sum;
  } else {
    const T scale = T(1 / sum);
    for (int64_t i = 0; i < size; ++i) y[i * step] *= scale;
  }
}

}  // namespace

void softmax_cpu(const Tensor& x, const Tensor& y, int64_t axis, bool logarithm) {
  const Lanes lanes = lanes_of(x, axis);
  dispatch_compute_float(x.dtype(), "softmax", [&]<class T>() {
    const T* from = x.data<T>();
    T* to = y.data<T>();
    parallel_for(lanes.count(), lane_grain(lanes), [&](int64_t begin, int64_t end) {
      for (int64_t lane = begin; lane < end; ++lane) {
        const int64_t start = lanes.start(lane);
        softmax_lane(from + start, to + start, lanes.size, lanes.inner, logarithm);
      }
    });
  });
}

}  // namespace taper::ops
