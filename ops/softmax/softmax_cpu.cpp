#include "taper/ops/softmax/softmax_cpu.h"

#include <cmath>

#include "taper/core/base/parallel.h"
#include "taper/ops/softmax/lane_tile.h"

namespace taper::ops {
namespace {

template <class T>
void softmax_tile(const T* x, T* y, const Lanes& lanes, int64_t width, bool logarithm) {
  T largest[kTileWidth], factor[kTileWidth];
  double sum[kTileWidth];
  tile_statistics(x, lanes, width, largest, sum);
  if (logarithm) {
    for (int64_t i = 0; i < width; ++i) factor[i] = T(std::log(sum[i]));
    map_tile(x, y, lanes, width, largest, factor, [](T v, T most, T log_sum) { return v - most - log_sum; });
  } else {
    for (int64_t i = 0; i < width; ++i) factor[i] = T(1 / sum[i]);
    map_tile(x, y, lanes, width, largest, factor,
             [](T v, T most, T scale) { return vector_math::exp(v - most) * scale; });
  }
}

}  // namespace

void softmax_cpu(const Tensor& x, const Tensor& y, int64_t axis, bool logarithm) {
  const Lanes lanes = lanes_of(x, axis);
  dispatch_compute_float(x.dtype(), "softmax", [&]<class T>() {
    const T* from = x.data<T>();
    T* to = y.data<T>();
    parallel_for(lanes.count(), lane_grain(lanes), [&](int64_t begin, int64_t end) {
      for_each_tile(lanes, begin, end, [&](int64_t start, int64_t /*lane*/, int64_t width) {
        softmax_tile(from + start, to + start, lanes, width, logarithm);
      });
    });
  });
}

}  // namespace taper::ops
