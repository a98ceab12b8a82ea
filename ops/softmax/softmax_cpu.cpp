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
  dispatch_float(x.dtype(), "softmax", [&]<class S>() {
    const S* from = x.data<S>();
    S* to = y.data<S>();
    parallel_for(lanes.count(), lane_grain(lanes), [&](int64_t begin, int64_t end) {
      const TileValues<S> values(lanes);
      for_each_tile(lanes, begin, end, [&](int64_t start, int64_t /*lane*/, int64_t width) {
        softmax_tile(values.load(from + start, lanes, width), values.target(to + start),
                     values.layout(lanes, width), width, logarithm);
        values.store(to + start, lanes, width);
      });
    });
  });
}

}  // namespace taper::ops
