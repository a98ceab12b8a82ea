#pragma once
// Pictures in memory, and how they are read from JPEG and PNG files.
//
// The pixels are those of PIL's Image.open(path).convert("RGB"), which is how torchvision loads a picture:
// every colour type becomes 8-bit RGB, alpha is dropped, orientation tags are ignored. PyTorch's counterpart:
// torchvision/datasets/folder.py (pil_loader).

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace taper {

/// A picture of 8-bit RGB pixels, row after row: [height, width, 3].
struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;

  Image() = default;
  /// A black picture.
  Image(int width_, int height_) : width(width_), height(height_), pixels(size_t(width_) * height_ * 3) {}

  uint8_t* row(int y) { return pixels.data() + size_t(y) * width * 3; }
  const uint8_t* row(int y) const { return pixels.data() + size_t(y) * width * 3; }
  bool operator==(const Image&) const = default;
};

/// Pictures that claim more pixels are refused before memory is taken for them (PIL's limit as well).
inline constexpr int64_t kMaxPixels = 178'956'970;

/// Decodes a JPEG (gray, RGB, YCbCr, CMYK, YCCK; baseline or progressive) or PNG (every colour type and
/// depth) picture, told apart by their first bytes. `name` is what errors call the picture, usually its path.
/// Throws FileError if the bytes are of another kind, cut short or damaged, or hold more than `max_pixels`.
Image decode_image(std::span<const uint8_t> bytes, const std::string& name, int64_t max_pixels = kMaxPixels);

/// Reads and decodes the picture at `path`; see decode_image. Throws FileError, also where there is no such
/// file.
Image read_image(const std::string& path, int64_t max_pixels = kMaxPixels);

/// True if the file name ends in .jpg, .jpeg or .png, in either case.
bool has_image_extension(const std::string& path);

}  // namespace taper
