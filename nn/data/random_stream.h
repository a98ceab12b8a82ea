#pragma once
// RandomStream: the random draws of one sample. They depend on (seed, purpose, epoch, index) alone, so any
// number of workers draws equal numbers, in any order.

#include "taper/core/philox.h"

namespace taper {

/// What a stream of random numbers is for. Streams of different purposes share no numbers.
enum class RandomPurpose : uint64_t { kShuffle = 1, kAugment = 2, kPixels = 3, kStandIn = 4, kMix = 5 };

/// A stream of random numbers, a pure function of its constructor's arguments.
class RandomStream {
 public:
  /// Streams are distinct for epoch < 2^20 and index < 2^40.
  RandomStream(uint64_t seed, RandomPurpose purpose, uint64_t epoch, uint64_t index);

  /// Returns the next 32 random bits.
  uint32_t bits();
  /// Returns a number, uniform in [low, high).
  double uniform(double low, double high);
  /// Returns one of 0 .. count - 1, uniform without bias, for count >= 1.
  uint32_t below(uint32_t count);
  /// Returns a number of the distribution Beta(alpha, alpha), alpha > 0: in [0, 1], symmetric about 1/2, near the ends
  /// for a small alpha and near the middle for a large one.
  double symmetric_beta(double alpha);

 private:
  Philox philox_;
  uint64_t counter_ = 0;
  RandomBits block_;
  int used_ = 4;
};

}  // namespace taper
