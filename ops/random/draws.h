#pragma once
// What each random fill makes of 128 random bits, written once for the CPU and the GPU. A draw is a function
// of the bits that writes kPerBlock values, without converting them to a dtype.

#include <cmath>
#include <cstdint>

#include "taper/core/philox.h"

namespace taper::ops {

/// Uniform in [low, low + span). f64 takes two lanes an element.
template <class T>
struct UniformDraw;

template <>
struct UniformDraw<float> {
  using Value = float;
  static constexpr int kPerBlock = 4;
  float low, span;
  TAPER_HOST_DEVICE void operator()(const RandomBits& bits, float* values) const {
    for (int i = 0; i < 4; ++i) values[i] = low + span * uniform_float(bits[i]);
  }
};

template <>
struct UniformDraw<double> {
  using Value = double;
  static constexpr int kPerBlock = 2;
  double low, span;
  TAPER_HOST_DEVICE void operator()(const RandomBits& bits, double* values) const {
    for (int i = 0; i < 2; ++i) values[i] = low + span * uniform_double(bits[2 * i], bits[2 * i + 1]);
  }
};

/// Two independent normal numbers from two uniform ones; 1 - u keeps the logarithm away from 0. The GPU's
/// log, sin and cos differ from the CPU's by an ulp or two, and so do the results.
template <class T>
TAPER_HOST_DEVICE void box_muller(T u, T v, T mean, T std, T* values) {
  const T radius = std * std::sqrt(T(-2) * std::log(T(1) - u));
  const T angle = T(6.28318530717958647692) * v;
  values[0] = mean + radius * std::cos(angle);
  values[1] = mean + radius * std::sin(angle);
}

template <class T>
struct NormalDraw;

template <>
struct NormalDraw<float> {
  using Value = float;
  static constexpr int kPerBlock = 4;
  float mean, std;
  TAPER_HOST_DEVICE void operator()(const RandomBits& bits, float* values) const {
    for (int i = 0; i < 4; i += 2) {
      box_muller(uniform_float(bits[i]), uniform_float(bits[i + 1]), mean, std, values + i);
    }
  }
};

template <>
struct NormalDraw<double> {
  using Value = double;
  static constexpr int kPerBlock = 2;
  double mean, std;
  TAPER_HOST_DEVICE void operator()(const RandomBits& bits, double* values) const {
    box_muller(uniform_double(bits[0], bits[1]), uniform_double(bits[2], bits[3]), mean, std, values);
  }
};

/// True where 24 bits are below the threshold: uniform_float(bits) < p, in integers.
struct BernoulliDraw {
  using Value = float;
  static constexpr int kPerBlock = 4;
  uint32_t threshold;

  explicit BernoulliDraw(double p) : threshold(uint32_t(std::ceil(p * 0x1p24))) {}
  template <class T>
  TAPER_HOST_DEVICE void operator()(const RandomBits& bits, T* values) const {
    for (int i = 0; i < 4; ++i) values[i] = T(bits[i] >> 8 < threshold);
  }
};

/// low, ..., low + range - 1 for a range of at most 2^32.
struct IntegerDraw {
  using Value = int64_t;
  static constexpr int kPerBlock = 4;
  int64_t low;
  uint64_t range;
  TAPER_HOST_DEVICE void operator()(const RandomBits& bits, int64_t* values) const {
    for (int i = 0; i < 4; ++i) values[i] = int64_t(uint64_t(low) + (bits[i] * range >> 32));
  }
};

/// low, ..., low + range - 1 for any range, from two lanes an element.
struct WideIntegerDraw {
  using Value = int64_t;
  static constexpr int kPerBlock = 2;
  int64_t low;
  uint64_t range;
  TAPER_HOST_DEVICE void operator()(const RandomBits& bits, int64_t* values) const {
    for (int i = 0; i < 2; ++i) {
      const uint64_t drawn = uint64_t(bits[2 * i]) << 32 | bits[2 * i + 1];
      values[i] = int64_t(uint64_t(low) + drawn % range);
    }
  }
};

}  // namespace taper::ops
