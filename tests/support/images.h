#pragma once
// Images for tests: made here, and written by libpng and libjpeg.

#include <cstdint>
#include <string>
#include <vector>

#include "taper/nn/data/image.h"
#include "temporary_folder.h"

/// Returns an image of waves and edges that differs with `seed`.
taper::Image test_image(int width, int height, int seed = 0);

/// Returns a PNG file of 8-bit samples [height, width, channels]: gray, gray and alpha, RGB or RGBA.
std::vector<uint8_t> png_bytes(int width, int height, int channels, const std::vector<uint8_t>& samples);
std::vector<uint8_t> png_bytes(const taper::Image& image);
std::vector<uint8_t> interlaced_png_bytes(const taper::Image& image);
/// Returns the PNG file with a chunk of this type and data after its header.
std::vector<uint8_t> with_png_chunk(const std::vector<uint8_t>& png, const std::string& type,
                                    const std::vector<uint8_t>& data);

/// Returns a JPEG file of 8-bit samples [height, width, channels] (1 gray, 3 RGB, 4 CMYK).
std::vector<uint8_t> jpeg_bytes(int width, int height, int channels, const std::vector<uint8_t>& samples,
                                int quality = 90, bool progressive = false);
std::vector<uint8_t> jpeg_bytes(const taper::Image& image, int quality = 90, bool progressive = false);

/// Writes a file, and makes its folders.
void write_file(const std::string& path, const std::vector<uint8_t>& bytes);
