#include "taper/nn/data/image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <new>
#include <string_view>
#include <system_error>

#include "taper/core/base/error.h"
#include "taper/core/files/file_descriptor.h"
#include "taper/nn/data/image_codecs.h"

namespace taper {
namespace {

bool has_at(std::span<const uint8_t> bytes, size_t offset, std::string_view text) {
  return bytes.size() >= offset + text.size() &&
         std::equal(text.begin(), text.end(), bytes.begin() + ptrdiff_t(offset),
                    [](char a, uint8_t b) { return uint8_t(a) == b; });
}

/// Returns the kind of a foreign file, so that its owner can convert it; empty if unknown.
std::string_view foreign_format(std::span<const uint8_t> bytes) {
  struct Format {
    size_t offset;
    std::string_view mark, name;
  };
  using namespace std::string_view_literals;
  constexpr Format kFormats[] = {
      {8, "WEBP"sv, "WebP"},        {0, "GIF8"sv, "GIF"},          {0, "BM"sv, "BMP"},
      {0, "II*\0"sv, "TIFF"},       {0, "MM\0*"sv, "TIFF"},        {4, "ftypavif"sv, "AVIF"},
      {4, "ftypheic"sv, "HEIC"},    {4, "ftypmif1"sv, "HEIF"},     {0, "\xFF\x0A"sv, "JPEG XL"},
      {4, "JXL \r\n"sv, "JPEG XL"}, {4, "jP  \r\n"sv, "JPEG 2000"}};
  for (const Format& format : kFormats)
    if (has_at(bytes, format.offset, format.mark)) return format.name;
  return {};
}

/// Throws for the system's `error`: FileError if it concerns this file, Error if the process lacks something
/// and the image may be whole.
[[noreturn]] void refuse_to_read(const std::string& path, int error) {
  const std::string reason = std::generic_category().message(error);
  if (error == EMFILE || error == ENFILE || error == ENOMEM) fail("{}: cannot be read: {}", path, reason);
  if (error == ENOENT) fail<FileError>("{}: no such file", path);
  fail<FileError>("{}: cannot be read: {}", path, reason);
}

std::vector<uint8_t> read_file(const std::string& path, int64_t max_bytes) {
  // O_NONBLOCK: opening a named pipe must not wait for its writer before the pipe is rejected.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.is_open()) refuse_to_read(path, errno);
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) refuse_to_read(path, errno);
  if (!S_ISREG(status.st_mode)) fail<FileError>("{}: not a file", path);
  if (status.st_size > max_bytes)
    fail<FileError>("{}: file of {} bytes is over the limit of {}", path, status.st_size, max_bytes);

  std::vector<uint8_t> bytes(size_t(status.st_size));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) refuse_to_read(path, errno);
    if (count == 0) bytes.resize(done);  // it has become shorter meanwhile
    done += size_t(count);
  }
  return bytes;
}

/// Calls body(); running out of memory becomes an error that names the image.
template <class Body>
auto with_memory_for(const std::string& name, Body&& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    fail<OutOfMemoryError>("{}: not enough memory to read this image", name);
  }
}

}  // namespace

void check_image_size(int64_t width, int64_t height, const ImageLimits& limits, size_t file_bytes,
                      double most_pixels_per_byte, const std::string& name) {
  if (width <= 0 || height <= 0) fail<FileError>("{}: image of {} x {} pixels", name, width, height);
  if (width > limits.max_pixels / height)
    fail<FileError>("{}: image of {} x {} pixels is over the limit of {}", name, width, height,
                    limits.max_pixels);
  if (double(width) * double(height) > double(file_bytes) * most_pixels_per_byte)
    fail<FileError>("{}: image of {} x {} pixels in {} bytes: the file is cut short", name, width, height,
                    file_bytes);
}

Image decode_image(std::span<const uint8_t> bytes, const std::string& name, const ImageLimits& limits) {
  return with_memory_for(name, [&] {
    if (has_at(bytes, 0, "\xFF\xD8\xFF")) return decode_jpeg(bytes, name, limits);
    if (has_at(bytes, 0, "\x89PNG\r\n\x1A\n")) return decode_png(bytes, name, limits);
    if (bytes.empty()) fail<FileError>("{}: empty file", name);
    const std::string_view format = foreign_format(bytes);
    fail<FileError>("{}: not a JPEG or PNG image{}{}", name,
                    format.empty() ? "" : " but " + std::string(format),
                    format.empty() ? "" : "; convert it to one of these");
  });
}

Image read_image(const std::string& path, const ImageLimits& limits) {
  return with_memory_for(path,
                         [&] { return decode_image(read_file(path, limits.max_file_bytes), path, limits); });
}

bool has_image_extension(const std::string& path) {
  std::string lower = path;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower.ends_with(".jpg") || lower.ends_with(".jpeg") || lower.ends_with(".png");
}

}  // namespace taper
