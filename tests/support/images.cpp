#include "images.h"

#include <png.h>
#include <stdlib.h>  // mkdtemp
#include <zlib.h>

#include <cmath>
#include <cstdio>  // jpeglib.h needs FILE
#include <filesystem>
#include <fstream>

#include <jpeglib.h>

#include "taper/core/base/error.h"

taper::Image test_image(int width, int height, int seed) {
  taper::Image image(width, height);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) {
        const double wave = std::sin(x / (3.0 + c) + seed) * std::cos(y / (5.0 + seed % 7));
        image.row(y)[3 * x + c] = uint8_t(128 + 80 * wave + 40 * ((x / 7 + y / 5 + c + seed) % 2));
      }
  return image;
}

std::vector<uint8_t> png_bytes(int width, int height, int channels, const std::vector<uint8_t>& samples) {
  constexpr png_uint_32 kFormats[] = {0, PNG_FORMAT_GRAY, PNG_FORMAT_GA, PNG_FORMAT_RGB, PNG_FORMAT_RGBA};
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = png_uint_32(width);
  image.height = png_uint_32(height);
  image.format = kFormats[channels];
  png_alloc_size_t size = 0;
  png_image_write_to_memory(&image, nullptr, &size, 0, samples.data(), 0, nullptr);
  std::vector<uint8_t> bytes(size);
  TAPER_CHECK(png_image_write_to_memory(&image, bytes.data(), &size, 0, samples.data(), 0, nullptr),
              "png_bytes: {}", image.message);
  bytes.resize(size);
  return bytes;
}

std::vector<uint8_t> png_bytes(const taper::Image& image) {
  return png_bytes(image.width, image.height, 3, image.pixels);
}

std::vector<uint8_t> interlaced_png_bytes(const taper::Image& image) {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  std::vector<uint8_t> bytes;
  png_set_write_fn(
      png, &bytes,
      [](png_structp writer, png_bytep data, size_t size) {
        auto& out = *static_cast<std::vector<uint8_t>*>(png_get_io_ptr(writer));
        out.insert(out.end(), data, data + size);
      },
      nullptr);
  png_set_IHDR(png, info, png_uint_32(image.width), png_uint_32(image.height), 8, PNG_COLOR_TYPE_RGB,
               PNG_INTERLACE_ADAM7, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  std::vector<png_bytep> rows;
  for (int y = 0; y < image.height; ++y) rows.push_back(const_cast<png_bytep>(image.row(y)));
  png_write_image(png, rows.data());
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return bytes;
}

std::vector<uint8_t> with_png_chunk(const std::vector<uint8_t>& png, const std::string& type,
                                    const std::vector<uint8_t>& data) {
  constexpr size_t kHeaderEnd = 8 + 12 + 13;  // signature, IHDR
  std::vector<uint8_t> result(png.begin(), png.begin() + kHeaderEnd);
  const auto put = [&](unsigned long value) {
    for (int shift = 24; shift >= 0; shift -= 8) result.push_back(uint8_t(value >> shift));
  };
  put(data.size());
  result.insert(result.end(), type.begin(), type.end());
  result.insert(result.end(), data.begin(), data.end());
  put(crc32(0, result.data() + kHeaderEnd + 4, uInt(4 + data.size())));
  result.insert(result.end(), png.begin() + kHeaderEnd, png.end());
  return result;
}

std::vector<uint8_t> jpeg_bytes(int width, int height, int channels, const std::vector<uint8_t>& samples,
                                int quality, bool progressive) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &buffer, &size);
  info.image_width = JDIMENSION(width);
  info.image_height = JDIMENSION(height);
  info.input_components = channels;
  info.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, quality, TRUE);
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    JSAMPROW row = const_cast<JSAMPROW>(&samples[size_t(info.next_scanline) * width * channels]);
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  const std::vector<uint8_t> bytes(buffer, buffer + size);
  jpeg_destroy_compress(&info);
  free(buffer);
  return bytes;
}

std::vector<uint8_t> jpeg_bytes(const taper::Image& image, int quality, bool progressive) {
  return jpeg_bytes(image.width, image.height, 3, image.pixels, quality, progressive);
}

void write_file(const std::string& path, const std::vector<uint8_t>& bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  TAPER_CHECK(file.good(), "write_file: cannot write {}", path);
}
