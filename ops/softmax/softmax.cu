#include "taper/ops/softmax/lane_gpu.cuh"
#include "taper/ops/softmax/softmax_gpu.h"

namespace taper::ops {
namespace {

/// Writes the softmax, or its logarithm, of every lane; launch as lane_gpu.cuh describes. Reads x twice, the
/// second time from the caches unless lanes are very long, and writes y once. Limited by memory bandwidth;
/// for short rows of half types, by the exponentials.
template <class Stored>
__global__ void __launch_bounds__(kLaneBlock, kLaneBlocks<Stored>)
    softmax_lanes(const Stored* x, Stored* y, GpuLanes lanes, bool logarithm) {
  using T = LaneType<Stored>;
  int thread;
  const int64_t lane = lanes.lane(thread);
  const bool exists = lane < lanes.count;
  const int64_t start = exists ? lanes.start(lane) : 0;
  const ExpSum<Stored> total = lane_statistics(lanes, x + start, exists, thread);
  if (!exists) return;
  if (logarithm) {
    const T log_sum = std::log(total.sum);
    map_lane<T>(lanes, x + start, y + start, thread,
                [&](T v, int64_t) { return v - total.largest - log_sum; });
  } else {
    const T scale = T(1) / total.sum;
    map_lane<T>(lanes, x + start, y + start, thread,
                [&](T v, int64_t) { return lane_exp<Stored>(v - total.largest) * scale; });
  }
}

}  // namespace

void softmax_gpu(const Tensor& x, const Tensor& y, int64_t axis, bool logarithm) {
  const gpu::DeviceGuard guard(x.device().index);
  dispatch_stored(x.dtype(), [&]<class Stored>() {
    if constexpr (!std::is_integral_v<Stored>) {
      const GpuLanes lanes = GpuLanes::of<Stored>(lanes_of(x, axis));
      gpu::launch(logarithm ? "log_softmax" : "softmax", softmax_lanes<Stored>,
                  {.grid = lanes.grid(), .block = kLaneBlock}, static_cast<const Stored*>(x.data_ptr()),
                  static_cast<Stored*>(y.data_ptr()), lanes, logarithm);
    }
  });
}

}  // namespace taper::ops
