#pragma once
// The decoders behind decode_image, one file each. Both libraries report errors by longjmp, which skips
// destructors; the functions that call them therefore hold nothing but plain values, and whatever must be
// freed lives in their caller.

#include "taper/nn/data/image.h"

namespace taper {

/// Throws FileError unless 0 < width * height <= max_pixels.
void check_image_size(int64_t width, int64_t height, int64_t max_pixels, const std::string& name);

/// As decode_image, for bytes that begin like a JPEG picture.
Image decode_jpeg(std::span<const uint8_t> bytes, const std::string& name, int64_t max_pixels);

/// As decode_image, for bytes that begin like a PNG picture.
Image decode_png(std::span<const uint8_t> bytes, const std::string& name, int64_t max_pixels);

}  // namespace taper
