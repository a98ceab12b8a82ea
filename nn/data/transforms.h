#pragma once
// From an image of any size to one of the network's size, on 8-bit pixels. The steps and numbers come from
// torchvision's references/classification/presets.py. ops/image/ turns the pixels into normalised floats.

#include "taper/nn/data/augment.h"
#include "taper/nn/data/image.h"

namespace taper {

/// Training's random changes to an image, apart from mirroring.
enum class Augmentation {
  kNone,         ///< the evaluation's geometry
  kResizedCrop,  ///< RandomResizedCrop(image_size), for photographs
  kShift,        ///< pad by an eighth and crop, for small images
};

/// Turns every image into one of image_size x image_size pixels.
struct ImageTransform {
  int image_size = 224;
  /// The shorter side's length before the centre is cut out (kNone, kShift).
  int resize = 256;
  Augmentation augmentation = Augmentation::kNone;
  /// Mirrors images with probability 1/2.
  bool flip = false;
  /// Probability of an erased rectangle (random_erasing_box), which becomes 0 once the image is normalised.
  double erase = 0;

  /// Returns the image [image_size, image_size, 3]. Draws from `random` what the augmentation needs. Throws
  /// Error unless 0 < image_size <= resize, where resize is used.
  Image apply(const Image& image, RandomStream& random) const;
};

/// Resize(resize) + CenterCrop(image_size). `resize` = 0 means image_size * 256 / 224, rounded. Throws Error
/// unless image_size > 0 and resize >= image_size.
ImageTransform evaluation_transform(int image_size, int resize = 0);

/// RandomResizedCrop and flip; up to 64 pixels, shift and flip of an image whose shorter side becomes
/// image_size. Throws Error unless image_size > 0.
ImageTransform training_transform(int image_size);

}  // namespace taper
