#include "taper/nn/data/random_stream.h"

#include <cmath>
#include <numbers>

namespace taper {

RandomStream::RandomStream(uint64_t seed, RandomPurpose purpose, uint64_t epoch, uint64_t index)
    : philox_{seed, uint64_t(purpose) << 60 | epoch << 40 | index} {}

uint32_t RandomStream::bits() {
  if (used_ == 4) {
    block_ = philox_(counter_++);
    used_ = 0;
  }
  return block_[used_++];
}

double RandomStream::uniform(double low, double high) {
  const uint32_t high_bits = bits(), low_bits = bits();
  return low + (high - low) * uniform_double(high_bits, low_bits);
}

// Lemire, "Fast Random Integer Generation in an Interval" (2019): the high half of bits * count, drawn again
// in the rare case that would favour some results.
uint32_t RandomStream::below(uint32_t count) {
  const uint32_t reject_under = (0u - count) % count;
  for (;;) {
    const uint64_t product = uint64_t(bits()) * count;
    if (uint32_t(product) >= reject_under) return uint32_t(product >> 32);
  }
}

// If t follows Student's distribution with 2 alpha degrees of freedom, 1/2 + t / (2 sqrt(2 alpha + t^2)) follows
// Beta(alpha, alpha). Bailey, "Polar generation of random variates with the t-distribution" (1994), has such a t from two
// uniform numbers: t^2 = 2 alpha (u^(-1/alpha) - 1) cos^2(2 pi v).
double RandomStream::symmetric_beta(double alpha) {
  const double u = 1 - uniform(0, 1);  // in (0, 1]
  const double cosine = std::cos(2 * std::numbers::pi * uniform(0, 1));
  const double ratio = std::expm1(-std::log(u) / alpha) * cosine * cosine;  // t^2 / (2 alpha), 0 to infinity
  return 0.5 + std::copysign(0.5 / std::sqrt(1 + 1 / ratio), cosine);
}

}  // namespace taper
