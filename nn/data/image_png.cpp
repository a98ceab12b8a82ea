// PNG through libpng. Colour types become RGB as in PIL: palettes are looked up, samples of fewer than 8 bits
// stretched, alpha and the low byte of 16-bit colour dropped. One quirk of PIL's is kept because
// torchvision's users have it: 16-bit gray is not scaled, and values over 255 become white.

#include <png.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "taper/core/base/error.h"
#include "taper/nn/data/image_codecs.h"

namespace taper {
namespace {

// libpng's reader with its source of bytes. The libpng callbacks find it through their user pointer.
struct PngReader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::span<const uint8_t> rest;
  char message[256] = {};
  bool is_cut_short = false;
  bool lacks_memory = false;

  explicit PngReader(std::span<const uint8_t> bytes);
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  bool is_gray16() const {
    return png_get_color_type(png, info) == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, info) == 16;
  }
  int bits_per_pixel() const { return png_get_channels(png, info) * png_get_bit_depth(png, info); }

  // Both return false with `message` set if libpng rejects the file.
  bool read_header();
  bool read_pixels(uint8_t* pixels, size_t row_bytes);

 private:
  bool has_all_rows() const;
};

[[noreturn]] void on_error(png_structp png, png_const_charp text) {
  auto& reader = *static_cast<PngReader*>(png_get_error_ptr(png));
  std::strncpy(reader.message, text, sizeof reader.message - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

png_voidp allocate(png_structp png, png_alloc_size_t size) {
  void* const block = std::malloc(size);
  if (block == nullptr) static_cast<PngReader*>(png_get_mem_ptr(png))->lacks_memory = true;
  return block;
}

void release(png_structp, png_voidp block) {
  std::free(block);
}

void read_bytes(png_structp png, png_bytep out, size_t count) {
  auto& reader = *static_cast<PngReader*>(png_get_io_ptr(png));
  if (count > reader.rest.size()) {
    reader.is_cut_short = true;
    png_error(png, "the file is cut short");
  }
  std::memcpy(out, reader.rest.data(), count);
  reader.rest = reader.rest.subspan(count);
}

PngReader::PngReader(std::span<const uint8_t> bytes) : rest(bytes) {
  png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, this, on_error, on_warning, this, allocate, release);
  if (png) info = png_create_info_struct(png);
  if (!info) return;
  png_set_read_fn(png, this, read_bytes);
  // Texts, profiles and the like are skipped undecoded: 1 kB of compressed text can hold 1 MB.
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
}

bool PngReader::read_header() {
  if (!info) {
    std::strncpy(message, "libpng cannot start", sizeof message - 1);
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
  // libpng reads on after the last row, to the end of its chunk. As in PIL, what follows may be missing.
  if (setjmp(png_jmpbuf(png))) return is_cut_short && has_all_rows();
  const int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  if (png_get_rowbytes(png, info) != row_bytes) png_error(png, "unexpected row length");
  const int64_t height = png_get_image_height(png, info);
  for (int pass = 0; pass < passes; ++pass)
    for (int64_t y = 0; y < height; ++y) png_read_row(png, pixels + size_t(y) * row_bytes, nullptr);
  return true;
}

bool PngReader::has_all_rows() const {
  constexpr int kPasses = 7;
  if (png_get_interlace_type(png, info) != PNG_INTERLACE_NONE)
    return png_get_current_pass_number(png) == kPasses;
  return png_get_current_row_number(png) == png_get_image_height(png, info);
}

[[noreturn]] void refuse_png(const PngReader& reader, const std::string& name) {
  if (reader.lacks_memory) throw std::bad_alloc();
  fail<FileError>("{}: damaged PNG: {}", name, reader.message);
}

// Turns 16-bit big-endian gray at the beginning of `pixels` into RGB, from the last pixel to the first, so
// that every pixel is read before it is overwritten.
void spread_gray16(std::vector<uint8_t>& pixels) {
  for (size_t i = pixels.size() / 3; i-- > 0;) {
    const uint8_t value = pixels[2 * i] ? 255 : pixels[2 * i + 1];
    std::fill_n(&pixels[3 * i], 3, value);
  }
}

}  // namespace

Image decode_png(std::span<const uint8_t> bytes, const std::string& name, const ImageLimits& limits) {
  PngReader reader(bytes);
  if (!reader.read_header()) refuse_png(reader, name);
  const int64_t width = png_get_image_width(reader.png, reader.info);
  const int64_t height = png_get_image_height(reader.png, reader.info);
  constexpr double kDeflateRatio = 1032;  // one byte inflates to at most this many
  check_image_size(width, height, limits, bytes.size(), kDeflateRatio * 8 / reader.bits_per_pixel(), name);

  Image image{int(width), int(height)};
  const bool is_gray16 = reader.is_gray16();
  if (!reader.read_pixels(image.pixels.data(), size_t(width) * (is_gray16 ? 2 : 3))) refuse_png(reader, name);
  if (is_gray16) spread_gray16(image.pixels);
  return image;
}

}  // namespace taper
