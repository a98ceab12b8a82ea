#include "taper/nn/data/image.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>

#include "taper/core/error.h"
#include "taper/nn/data/image_codecs.h"

namespace taper {
namespace {

bool starts_with(std::span<const uint8_t> bytes, std::initializer_list<uint8_t> prefix) {
  return bytes.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), bytes.begin());
}

std::vector<uint8_t> read_file(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) fail<FileError>("{}: no such file", path);
  if (!std::filesystem::is_regular_file(status)) fail<FileError>("{}: not a file", path);

  std::ifstream file(path, std::ios::binary);
  std::vector<uint8_t> bytes(std::filesystem::file_size(path, error));
  if (error || !file.read(reinterpret_cast<char*>(bytes.data()), std::streamsize(bytes.size())))
    fail<FileError>("{}: cannot be read", path);
  return bytes;
}

}  // namespace

void check_image_size(int64_t width, int64_t height, int64_t max_pixels, const std::string& name) {
  if (width <= 0 || height <= 0) fail<FileError>("{}: picture of {} x {} pixels", name, width, height);
  if (width > max_pixels / height)
    fail<FileError>("{}: picture of {} x {} pixels is over the limit of {}", name, width, height, max_pixels);
}

Image decode_image(std::span<const uint8_t> bytes, const std::string& name, int64_t max_pixels) {
  if (starts_with(bytes, {0xFF, 0xD8, 0xFF})) return decode_jpeg(bytes, name, max_pixels);
  if (starts_with(bytes, {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'}))
    return decode_png(bytes, name, max_pixels);
  fail<FileError>("{}: {}", name, bytes.empty() ? "empty file" : "not a JPEG or PNG picture");
}

Image read_image(const std::string& path, int64_t max_pixels) {
  return decode_image(read_file(path), path, max_pixels);
}

bool has_image_extension(const std::string& path) {
  std::string lower = path;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower.ends_with(".jpg") || lower.ends_with(".jpeg") || lower.ends_with(".png");
}

}  // namespace taper
