#pragma once
// Random draws for one sample, and the random crops made from them. A sample's augmentation depends on
// nothing but (seed, epoch, index), so it is the same for any number of workers and in any order. PyTorch's
// counterpart: torchvision/transforms/transforms.py (RandomResizedCrop, RandomCrop).

#include "taper/core/philox.h"
#include "taper/nn/data/resize.h"

namespace taper {

/// What a stream of random numbers is for; streams of different purpose share no numbers.
enum class RandomPurpose : uint64_t { kShuffle = 1, kAugment = 2, kPixels = 3, kStandIn = 4 };

/// A stream of random numbers, a pure function of its constructor's arguments.
class RandomStream {
 public:
  /// epoch < 2^20 and index < 2^40 give distinct streams.
  RandomStream(uint64_t seed, RandomPurpose purpose, uint64_t epoch, uint64_t index);

  /// The next 32 random bits.
  uint32_t bits();
  /// Uniform in [low, high).
  double uniform(double low, double high);
  /// Uniform over 0 .. count - 1, without bias, for count >= 1.
  uint32_t below(uint32_t count);

 private:
  Philox philox_;
  uint64_t counter_ = 0;
  RandomBits block_;
  int used_ = 4;
};

/// The box that torchvision's RandomResizedCrop cuts from a width x height picture: an area of 8% to 100% of
/// the picture at an aspect ratio of 3/4 to 4/3 (log-uniform), anywhere; after ten misses the largest centred
/// box whose ratio is allowed.
Box random_resized_crop_box(int width, int height, RandomStream& random);

/// Pads the picture with `padding` black pixels on each side and cuts its own size out again, anywhere: the
/// augmentation of 32 x 32 sets. torchvision: RandomCrop(size, padding).
Image random_shift(const Image& image, int padding, RandomStream& random);

}  // namespace taper
