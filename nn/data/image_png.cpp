// PNG through libpng. Colour types become RGB as in PIL: palettes are looked up, samples of fewer than 8 bits
// stretched, alpha and the low byte of 16-bit colour dropped. One wart of PIL's is kept because torchvision's
// users have it: 16-bit gray is not scaled, values over 255 become white.

#include <png.h>

#include <algorithm>
#include <cstring>

#include "taper/core/error.h"
#include "taper/nn/data/image_codecs.h"

namespace taper {
namespace {

// libpng's reader with its source of bytes. The libpng callbacks get back to it through their user pointer.
struct PngReader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::span<const uint8_t> rest;
  char message[256] = {};

  explicit PngReader(std::span<const uint8_t> bytes);
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  bool is_gray16() const {
    return png_get_color_type(png, info) == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, info) == 16;
  }

  // Both return false with `message` set if libpng refuses the file.
  bool read_header();
  bool read_pixels(uint8_t* pixels, size_t row_bytes);
};

[[noreturn]] void on_error(png_structp png, png_const_charp text) {
  auto& reader = *static_cast<PngReader*>(png_get_error_ptr(png));
  std::strncpy(reader.message, text, sizeof reader.message - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

void read_bytes(png_structp png, png_bytep out, size_t count) {
  auto& reader = *static_cast<PngReader*>(png_get_io_ptr(png));
  if (count > reader.rest.size()) png_error(png, "the file is cut short");
  std::memcpy(out, reader.rest.data(), count);
  reader.rest = reader.rest.subspan(count);
}

PngReader::PngReader(std::span<const uint8_t> bytes) : rest(bytes) {
  png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
  if (png) info = png_create_info_struct(png);
  if (!info) return;
  png_set_read_fn(png, this, read_bytes);
}

bool PngReader::read_header() {
  if (!info) {
    std::strncpy(message, "libpng found no memory", sizeof message - 1);
    return false;
  }
  if (setjmp(png_jmpbuf(png))) return false;
  png_read_info(png, info);
  if (png_get_color_type(png, info) == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
  if (!is_gray16()) {
    png_set_expand_gray_1_2_4_to_8(png);
    png_set_strip_16(png);
    png_set_strip_alpha(png);
    png_set_gray_to_rgb(png);
  }
  return true;
}

bool PngReader::read_pixels(uint8_t* pixels, size_t row_bytes) {
  if (setjmp(png_jmpbuf(png))) return false;
  const int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  if (png_get_rowbytes(png, info) != row_bytes) png_error(png, "unexpected row length");
  const int64_t height = png_get_image_height(png, info);
  for (int pass = 0; pass < passes; ++pass)
    for (int64_t y = 0; y < height; ++y) png_read_row(png, pixels + size_t(y) * row_bytes, nullptr);
  png_read_end(png, nullptr);
  return true;
}

// Deflate makes at most 1032 bytes of one, so a file far shorter than its picture is a trap or cut short; it
// is refused before memory is taken for the picture.
void check_compression(const PngReader& reader, size_t file_bytes, const std::string& name) {
  const uint64_t bits = uint64_t(png_get_image_width(reader.png, reader.info)) *
                        png_get_channels(reader.png, reader.info) *
                        png_get_bit_depth(reader.png, reader.info);
  const uint64_t raw_bytes = (bits / 8) * png_get_image_height(reader.png, reader.info);
  if (raw_bytes / 1032 > file_bytes) fail<FileError>("{}: damaged PNG: the file is cut short", name);
}

}  // namespace

Image decode_png(std::span<const uint8_t> bytes, const std::string& name, int64_t max_pixels) {
  PngReader reader(bytes);
  if (!reader.read_header()) fail<FileError>("{}: damaged PNG: {}", name, reader.message);
  const int64_t width = png_get_image_width(reader.png, reader.info);
  const int64_t height = png_get_image_height(reader.png, reader.info);
  check_image_size(width, height, max_pixels, name);
  check_compression(reader, bytes.size(), name);

  Image image{int(width), int(height)};
  if (!reader.is_gray16()) {
    if (!reader.read_pixels(image.pixels.data(), size_t(width) * 3))
      fail<FileError>("{}: damaged PNG: {}", name, reader.message);
    return image;
  }

  std::vector<uint8_t> gray(size_t(width * height * 2));  // big-endian
  if (!reader.read_pixels(gray.data(), size_t(width) * 2))
    fail<FileError>("{}: damaged PNG: {}", name, reader.message);
  for (size_t i = 0; i < gray.size() / 2; ++i) {
    const uint8_t value = gray[2 * i] ? 255 : gray[2 * i + 1];
    std::fill_n(&image.pixels[3 * i], 3, value);
  }
  return image;
}

}  // namespace taper
