#include "taper/nn/data/random_stream.h"

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

}  // namespace taper
