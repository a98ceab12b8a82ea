#pragma once
// The decoders behind decode_image, one file each. Both libraries report errors by longjmp, which skips
// destructors. So functions that call them hold only plain values, and the caller owns what must be freed.

#include "taper/nn/data/image.h"

namespace taper {

/// Throws FileError unless 0 < width * height <= max_pixels and `file_bytes` can hold that many pixels, when
/// one byte describes at most `most_pixels_per_byte`. A file far shorter than its image is a trap or cut
/// short, so no memory is taken for it.
void check_image_size(int64_t width, int64_t height, const ImageLimits& limits, size_t file_bytes,
                      double most_pixels_per_byte, const std::string& name);

/// decode_image() for bytes that begin like a JPEG image.
Image decode_jpeg(std::span<const uint8_t> bytes, const std::string& name, const ImageLimits& limits);

/// decode_image() for bytes that begin like a PNG image.
Image decode_png(std::span<const uint8_t> bytes, const std::string& name, const ImageLimits& limits);

}  // namespace taper
