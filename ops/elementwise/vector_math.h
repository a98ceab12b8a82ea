#pragma once
// exp, log, tanh and erf as straight-line arithmetic, so that a loop over them vectorises. (Otherwise GCC
// calls the C library once per element.) f32 results are within 1.5 units in the last place of the exact
// value, tested over the whole range; f64 uses the C library. Range reduction as in Muller, "Elementary
// Functions", ch. 11; the polynomials are weighted least-squares fits iterated towards minimax.

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace taper::ops::vector_math {

inline double exp(double x) {
  return std::exp(x);
}
inline double log(double x) {
  return std::log(x);
}
inline double tanh(double x) {
  return std::tanh(x);
}
inline double erf(double x) {
  return std::erf(x);
}

inline float exp(float x) {
  // x = n ln2 + r with |r| <= ln2/2. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  constexpr float kShift = 0x1.8p23f;
  constexpr float kLn2High = 0x1.62e400p-1f, kLn2Low = 0x1.7f7d1cp-20f;
  x = x < -104.0f ? -104.0f : x;  // below is 0, above is infinity; a NaN passes both comparisons
  x = x > 89.0f ? 89.0f : x;
  const float shifted = x * 0x1.715476p0f + kShift;
  const float n = shifted - kShift;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  const float q = 0x1.fffffcp-2f +
                  r * (0x1.555492p-3f + r * (0x1.5558f2p-5f + r * (0x1.1239e2p-7f + r * 0x1.6a2434p-10f)));
  const float p = 1.0f + (r + r * r * q);
  // 2^n in two factors, since n exceeds the exponents of normal numbers on both sides.
  const int32_t power = int32_t(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kShift));
  const int32_t half = power >> 1;
  const float a = std::bit_cast<float>(uint32_t(half + 127) << 23);
  const float b = std::bit_cast<float>(uint32_t(power - half + 127) << 23);
  return p * a * b;
}

inline float log(float x) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kLn2High = 0x1.62e400p-1f, kLn2Low = 0x1.7f7d1cp-20f;
  constexpr uint32_t kSqrtHalf = 0x3f3504f3u;
  // x = 2^n m with m in [sqrt(1/2), sqrt(2)); subnormal numbers are scaled up first.
  const bool subnormal = x < 0x1p-126f;
  const uint32_t bits = std::bit_cast<uint32_t>(subnormal ? x * 0x1p23f : x);
  const int32_t power = int32_t(bits - kSqrtHalf) >> 23;
  const float n = float(power) - (subnormal ? 23.0f : 0.0f);
  const float f = std::bit_cast<float>(bits - (uint32_t(power) << 23)) - 1.0f;
  const float p = 0x1.555554p-2f +
                  f * (-0x1.000226p-2f +
                       f * (0x1.99a008p-3f +
                            f * (-0x1.547244p-3f +
                                 f * (0x1.22da1ep-3f +
                                      f * (-0x1.0d8542p-3f + f * (0x1.055b68p-3f + f * -0x1.38b576p-4f))))));
  float y = n * kLn2High + (f + (f * f * (f * p - 0.5f) + n * kLn2Low));
  y = x < kInfinity ? y : x;  // infinity and NaN
  y = x == 0.0f ? -kInfinity : y;
  return x < 0.0f ? std::numeric_limits<float>::quiet_NaN() : y;
}

inline float tanh(float x) {
  const float magnitude = std::fabs(x);
  const float u = x * x;
  const float p = -0x1.555534p-2f +
                  u * (0x1.110768p-3f + u * (-0x1.b84448p-5f + u * (0x1.5256d6p-6f + u * -0x1.76ac18p-8f)));
  const float near_zero = x + x * u * p;
  const float far = std::copysign(1.0f - 2.0f / (exp(2.0f * magnitude) + 1.0f), x);
  return magnitude < 0.625f ? near_zero : far;
}

inline float erf(float x) {
  const float magnitude = std::fabs(x);
  const float u = x * x;
  const float p =
      0x1.06eba8p-3f +
      u * (-0x1.81273ep-2f +
           u * (0x1.ce2d20p-4f +
                u * (-0x1.b7fbb4p-6f + u * (0x1.5419f6p-8f + u * (-0x1.a485ecp-11f + u * 0x1.4ae4d0p-14f)))));
  const float near_zero = x + x * p;
  // 1 - exp(-r(|x|)), where r is a polynomial for -log(erfc) up to 4; beyond 4, erf is 1 in f32.
  const float a = magnitude > 4.0f ? 4.0f : magnitude;
  const float r = 0x1.2ed738p-15f +
                  a * (0x1.20eb8ap+0f +
                       a * (0x1.4521fep-1f +
                            a * (0x1.b4c1b4p-4f +
                                 a * (-0x1.8c182ep-6f +
                                      a * (0x1.f9a180p-9f + a * (-0x1.8cf9b8p-12f + a * 0x1.1cbd6ap-16f))))));
  const float far = std::copysign(1.0f - exp(-r), x);
  return magnitude < 1.0f ? near_zero : far;
}

}  // namespace taper::ops::vector_math
