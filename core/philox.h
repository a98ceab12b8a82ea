#pragma once
// Philox-4x32-10: random numbers as a pure function of (key, counter), so that every device, thread and
// order of execution draws the same stream. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3"
// (SC 2011). PyTorch's counterpart: c10 and ATen/core/PhiloxRNGEngine.h.

#include <cstdint>

#include "taper/core/base/host_device.h"

namespace taper {

/// 128 random bits.
struct RandomBits {
  uint32_t words[4] = {};

  TAPER_HOST_DEVICE uint32_t operator[](int i) const { return words[i]; }
  bool operator==(const RandomBits&) const = default;
};

/// Returns the 128 random bits at `counter` of the stream `subsequence` under `seed`.
struct Philox {
  uint64_t seed = 0;
  uint64_t subsequence = 0;

  TAPER_HOST_DEVICE RandomBits operator()(uint64_t counter) const {
    uint32_t c0 = uint32_t(counter), c1 = uint32_t(counter >> 32);
    uint32_t c2 = uint32_t(subsequence), c3 = uint32_t(subsequence >> 32);
    uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = uint64_t(0xD2511F53u) * c0;
      const uint64_t p1 = uint64_t(0xCD9E8D57u) * c2;
      c0 = uint32_t(p1 >> 32) ^ c1 ^ k0;
      c2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
      c1 = uint32_t(p1);
      c3 = uint32_t(p0);
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
  }
};

/// Returns 24 bits of `bits` as a float in [0, 1).
TAPER_HOST_DEVICE inline float uniform_float(uint32_t bits) {
  return float(bits >> 8) * 0x1p-24f;
}

/// Returns 53 of the 64 bits as a double in [0, 1).
TAPER_HOST_DEVICE inline double uniform_double(uint32_t high, uint32_t low) {
  return double((uint64_t(high) << 32 | low) >> 11) * 0x1p-53;
}

}  // namespace taper
