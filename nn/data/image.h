#pragma once
// Images in memory, and how they are read from JPEG and PNG files.
//
// The pixels equal PIL's Image.open(path).convert("RGB"), with which torchvision loads images: every colour
// type becomes 8-bit RGB, alpha is dropped, orientation tags are ignored. A file is not trusted: one image's
// cost is limited, and memory is taken in proportion to the file, not to its header's claims. PyTorch's
// counterpart: torchvision/datasets/folder.py (pil_loader).

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace taper {

/// An image of 8-bit RGB pixels, row after row: [height, width, 3].
struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;

  Image() = default;
  /// A black image.
  Image(int width_, int height_) : width(width_), height(height_), pixels(size_t(width_) * height_ * 3) {}

  uint8_t* row(int y) { return pixels.data() + size_t(y) * width * 3; }
  const uint8_t* row(int y) const { return pixels.data() + size_t(y) * width * 3; }
  bool operator==(const Image&) const = default;
};

/// Images with more pixels are rejected (PIL's limit as well): 512 MiB of RGB.
inline constexpr int64_t kMaxPixels = 178'956'970;

/// Limits on reading one image; an image that needs more is rejected. The sum of the three limits is the most
/// memory that a thread takes for an image, 1.5 GiB by default.
struct ImageLimits {
  /// Width times height. Each pixel takes three bytes. Decoding a JPEG image of several scans may visit at
  /// most 20 * max_pixels pixels in total, which limits its time to a few seconds.
  int64_t max_pixels = kMaxPixels;
  /// Size of the file, which is read whole.
  int64_t max_file_bytes = int64_t(512) << 20;
  /// The decoder's memory besides the file and the pixels: for a JPEG image of several scans two bytes for
  /// each sample of each channel, for others a few rows.
  int64_t max_decoder_bytes = int64_t(512) << 20;
};

/// Decodes a JPEG (gray, RGB, YCbCr, CMYK, YCCK; baseline or progressive) or PNG (every colour type and
/// depth) image; the first bytes tell which. `name`: the image's name in errors, usually its path. A PNG
/// image may lack everything after its pixels' chunks; a JPEG image of one scan may lack its end marker.
/// Throws FileError if the bytes are of another kind, cut short, damaged or over a limit. Throws
/// OutOfMemoryError, which is no FileError, if memory is short.
Image decode_image(std::span<const uint8_t> bytes, const std::string& name, const ImageLimits& limits = {});

/// Reads and decodes the image at `path`; see decode_image. Throws FileError also if `path` is no regular
/// file or may not be read. Throws another Error if the process lacks something: too many open files, or
/// OutOfMemoryError.
Image read_image(const std::string& path, const ImageLimits& limits = {});

/// Returns the image as a PNG file. Throws OutOfMemoryError.
std::vector<uint8_t> encode_png(const Image& image);

/// Returns whether the file name ends in .jpg, .jpeg or .png, in either case.
bool has_image_extension(const std::string& path);

}  // namespace taper
