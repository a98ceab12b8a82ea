#pragma once
// What controls.h computes, written once for the CPU and the GPU.

#include <cstdint>
#include <limits>

#include "taper/core/base/host_device.h"
#include "taper/ops/optimizer/controls.h"

namespace taper::ops {

struct UpdateScale {
  float* scale;
  int32_t* growth_tracker;
  const float* found_inf;
  double growth_factor, backoff_factor;
  int64_t growth_interval;
  static constexpr float kLargest = std::numeric_limits<float>::max();
  /// Below it the reciprocal would be infinite, and with it every gradient, for good.
  static constexpr float kSmallest = std::numeric_limits<float>::min();

  TAPER_HOST_DEVICE void operator()() const {
    if (*found_inf != 0) {
      const float lowered = float(*scale * backoff_factor);
      *scale = lowered >= kSmallest ? lowered : kSmallest;
      *growth_tracker = 0;
    } else if (++*growth_tracker == growth_interval) {
      const float grown = float(*scale * growth_factor);
      if (grown <= kLargest) *scale = grown;
      *growth_tracker = 0;
    }
  }
};

struct CountUpdate {
  double* count;
  const float* skip;  ///< may be null

  TAPER_HOST_DEVICE void operator()() const {
    if (!skip || *skip == 0) *count += 1;
  }
};

struct Choose {
  double* number;
  double values[kMostFlags + 1];
  const float* flags[kMostFlags];
  int count;  ///< of flags

  TAPER_HOST_DEVICE void operator()() const {
    int zeros = 0;
    for (int i = 0; i < count; ++i) zeros += *flags[i] == 0;
    *number = values[zeros];
  }
};

// On a GPU, on the current stream.
void run_gpu(const UpdateScale& update, Device device);
void run_gpu(const CountUpdate& update, Device device);
void run_gpu(const Choose& update, Device device);

}  // namespace taper::ops
