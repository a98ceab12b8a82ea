#pragma once
// Random crops for training. PyTorch's counterpart: RandomResizedCrop and RandomCrop of torchvision.

#include "taper/nn/data/random_stream.h"
#include "taper/nn/data/resize.h"

namespace taper {

/// Returns the box that torchvision's RandomResizedCrop cuts from a width x height image: an area of 8% to
/// 100% of the image at an aspect ratio of 3/4 to 4/3 (log-uniform), at a random position. After ten misses,
/// returns the largest centred box with an allowed ratio.
Box random_resized_crop_box(int width, int height, RandomStream& random);

/// Pads the image with `padding` black pixels on each side and crops it to its own size at a random position:
/// the augmentation of 32 x 32 sets. torchvision: RandomCrop(size, padding).
Image random_shift(const Image& image, int padding, RandomStream& random);

}  // namespace taper
