#pragma once
// The decoders behind decode_image, one file each. Both libraries report errors by longjmp, which skips
// destructors; the functions that call them therefore hold nothing but plain values, and whatever must be
// freed lives in their caller.

#include "taper/nn/data/image.h"

namespace taper {

/// Throws FileError unless 0 < width * height <= max_pixels, and unless `file_bytes` can hold so many pixels
/// where one byte describes at most `most_pixels_per_byte`: a file far shorter than its image is a trap or
/// cut short, and no memory is taken for it.
void check_image_size(int64_t width, int64_t height, const ImageLimits& limits, size_t file_bytes,
                      double most_pixels_per_byte, const std::string& name);

/// As decode_image, for bytes that begin like a JPEG image.
Image decode_jpeg(std::span<const uint8_t> bytes, const std::string& name, const ImageLimits& limits);

/// As decode_image, for bytes that begin like a PNG image.
Image decode_png(std::span<const uint8_t> bytes, const std::string& name, const ImageLimits& limits);

}  // namespace taper
