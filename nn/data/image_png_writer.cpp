// Writing PNG, by libpng's simplified interface, which reports errors as values.

#include <png.h>

#include "taper/core/base/error.h"
#include "taper/nn/data/image.h"

namespace taper {

std::vector<uint8_t> encode_png(const Image& image) {
  TAPER_CHECK(image.width > 0 && image.height > 0, "encode_png: the image has no pixels, {} x {}",
              image.width, image.height);
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = png_uint_32(image.width);
  header.height = png_uint_32(image.height);
  header.format = PNG_FORMAT_RGB;
  std::vector<uint8_t> bytes(PNG_IMAGE_PNG_SIZE_MAX(header));  // what the worst case takes
  png_alloc_size_t size = bytes.size();
  if (png_image_write_to_memory(&header, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr) == 0)
    fail<OutOfMemoryError>("encode_png: {}", header.message);
  bytes.resize(size);
  return bytes;
}

}  // namespace taper
