#pragma once
// Random crops and rectangles for training. PyTorch's counterpart: RandomResizedCrop, RandomCrop and RandomErasing of
// torchvision.

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

/// Returns the box that torchvision's RandomErasing erases from a width x height image, smaller than it in both
/// directions: an area of 2% to 33% of the image at an aspect ratio (height to width) of 0.3 to 3.3 (log-uniform), at
/// a random position. With probability 1 - `probability`, and after ten misses, returns an empty box. Zhong et al.
/// 2017, https://arxiv.org/abs/1708.04896.
Box random_erasing_box(int width, int height, double probability, RandomStream& random);

}  // namespace taper
