#pragma once
// Images in memory, and how they are read from JPEG and PNG files.
//
// The pixels are those of PIL's Image.open(path).convert("RGB"), which is how torchvision loads an image:
// every colour type becomes 8-bit RGB, alpha is dropped, orientation tags are ignored. A file is not trusted:
// what one image may cost is limited, and memory is taken in proportion to the file, not to what its header
// claims. PyTorch's counterpart: torchvision/datasets/folder.py (pil_loader).

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

/// Images of more pixels are refused (PIL's limit as well): 512 MiB of RGB.
inline constexpr int64_t kMaxPixels = 178'956'970;

/// What reading one image may cost; an image that needs more is refused. The sum of the three is the most
/// memory that a thread takes for an image, 1.5 GiB by default.
struct ImageLimits {
  /// Width times height. Each pixel takes three bytes. A JPEG image of several scans may visit pixels
  /// 20 * max_pixels times in all, which limits the time that it takes to a few seconds.
  int64_t max_pixels = kMaxPixels;
  /// Of the file, which is read whole.
  int64_t max_file_bytes = int64_t(512) << 20;
  /// What the decoder may hold besides the file and the pixels: for a JPEG image of several scans two bytes
  /// for each sample of each channel, for others a few rows.
  int64_t max_decoder_bytes = int64_t(512) << 20;
};

/// Decodes a JPEG (gray, RGB, YCbCr, CMYK, YCCK; baseline or progressive) or PNG (every colour type and
/// depth) image, told apart by their first bytes. `name` is what errors call the image, usually its path.
/// A PNG image may lack all that follows its pixels' chunks, a JPEG image of one scan its end marker.
/// Throws FileError if the bytes are of another kind, cut short, damaged or over a limit; OutOfMemoryError,
/// which is no FileError, if memory is short.
Image decode_image(std::span<const uint8_t> bytes, const std::string& name, const ImageLimits& limits = {});

/// Reads and decodes the image at `path`; see decode_image. Throws FileError, also where there is no
/// regular file or it may not be read. A lack that is not the image's own is another Error: too many open
/// files, or OutOfMemoryError.
Image read_image(const std::string& path, const ImageLimits& limits = {});

/// True if the file name ends in .jpg, .jpeg or .png, in either case.
bool has_image_extension(const std::string& path);

}  // namespace taper
