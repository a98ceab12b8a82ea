#pragma once
// Geometry of images: resize, crop, flip. Bit for bit torchvision's results for PIL images, whose resize
// filters before it shrinks (antialias). PyTorch's counterpart: torchvision/transforms/functional.py.
//
// A resize filters rows, rounds to 8 bits, then filters columns, as PIL does up to version 12.1. PIL 12.2
// filters columns first for the tallest images. PIL 13 does so whenever H > h and H - h > 2 (W - w), for an
// image of W x H that becomes w x h; 5 to 26% of the values of such tall images then differ by one level.
// Taper keeps to one rule, whatever PIL is installed.

#include "taper/nn/data/image.h"

namespace taper {

/// A rectangle of pixels: columns left to left + width - 1, rows top to top + height - 1.
struct Box {
  int left = 0;
  int top = 0;
  int width = 0;
  int height = 0;
  bool operator==(const Box&) const = default;
};

/// Scales the part `box` of the image to [height, width] with PIL's bilinear filter, widened by the scale
/// when it shrinks. Pixels outside the box have no effect. Throws Error if a size is not positive or the box
/// leaves the image. PIL: Image.crop(box).resize(..., BILINEAR).
Image resize(const Image& image, const Box& box, int width, int height);

/// Scales the whole image to [height, width]. Throws Error if a size is not positive.
Image resize(const Image& image, int width, int height);

/// Scales the image so that its shorter side is `size` and its longer one int(size * long / short). Throws
/// Error if size is not positive or the longer side would be absurd. torchvision: Resize(size).
Image resize_shorter_side(const Image& image, int size);

/// Returns the part `box` of the image, black outside the image. Throws Error if the box is empty.
Image crop(const Image& image, const Box& box);

/// Returns the middle size x size pixels. A side shorter than `size` is padded with black on both ends.
/// Throws Error if size is not positive. torchvision: CenterCrop(size).
Image center_crop(const Image& image, int size);

/// center_crop(resize_shorter_side(image, resize), size) without computing the pixels that are cut off.
/// Throws Error unless 0 < size <= resize.
Image resize_and_center_crop(const Image& image, int resize, int size);

/// Mirrors the image left to right.
Image flip_horizontal(const Image& image);

}  // namespace taper
