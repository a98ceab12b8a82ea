// JPEG through libjpeg-turbo, with its defaults (the accurate integer DCT, smooth chroma upsampling), which
// are PIL's as well.

#include <csetjmp>
#include <cstdio>  // jpeglib.h needs FILE

#include <jpeglib.h>

#include "taper/core/error.h"
#include "taper/nn/data/image_codecs.h"

namespace taper {
namespace {

// A picture of few bytes can hold many passes over many pixels; real ones have about ten.
constexpr int kMaxScans = 500;

// libjpeg's decompressor with its error handler, progress monitor and source of bytes. The libjpeg callbacks
// get back to it through client_data.
struct JpegReader {
  jpeg_decompress_struct info;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  jpeg_source_mgr source;
  std::jmp_buf on_error;
  char message[JMSG_LENGTH_MAX];

  explicit JpegReader(std::span<const uint8_t> bytes);
  ~JpegReader() { jpeg_destroy_decompress(&info); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  // Both return false with `message` set if libjpeg refuses the file.
  bool read_header();
  bool read_pixels(uint8_t* rgb);
};

[[noreturn]] void refuse(JpegReader& reader, const char* message) {
  std::snprintf(reader.message, sizeof reader.message, "%s", message);
  std::longjmp(reader.on_error, 1);
}

[[noreturn]] void error_exit(j_common_ptr info) {
  auto& reader = *static_cast<JpegReader*>(info->client_data);
  char text[JMSG_LENGTH_MAX];
  info->err->format_message(info, text);
  refuse(reader, text);
}

// Warnings (a few bytes too many before a marker, damaged pixels) do not stop PIL either.
void ignore_message(j_common_ptr, int) {}

void watch_scans(j_common_ptr info) {
  auto& reader = *static_cast<JpegReader*>(info->client_data);
  if (reader.info.input_scan_number > kMaxScans) refuse(reader, "too many scans");
}

// All bytes are there from the beginning, so a wish for more means that the file was cut short.
boolean no_more_bytes(j_decompress_ptr info) {
  refuse(*static_cast<JpegReader*>(info->client_data), "the file is cut short");
}

void skip_bytes(j_decompress_ptr info, long count) {
  if (count <= 0) return;
  if (size_t(count) > info->src->bytes_in_buffer) no_more_bytes(info);
  info->src->next_input_byte += count;
  info->src->bytes_in_buffer -= size_t(count);
}

JpegReader::JpegReader(std::span<const uint8_t> bytes) : info{}, errors{}, progress{}, source{}, message{} {
  info.err = jpeg_std_error(&errors);
  errors.error_exit = error_exit;
  errors.emit_message = ignore_message;
  info.client_data = this;
  if (setjmp(on_error)) return;  // message is set, which read_header sees
  jpeg_create_decompress(&info);
  progress.progress_monitor = watch_scans;
  info.progress = &progress;
  source = {.next_input_byte = bytes.data(),
            .bytes_in_buffer = bytes.size(),
            .init_source = [](j_decompress_ptr) {},
            .fill_input_buffer = no_more_bytes,
            .skip_input_data = skip_bytes,
            .resync_to_restart = jpeg_resync_to_restart,
            .term_source = [](j_decompress_ptr) {}};
  info.src = &source;
}

bool JpegReader::read_header() {
  if (message[0] != 0 || setjmp(on_error)) return false;
  jpeg_read_header(&info, TRUE);
  // libjpeg turns every 4-channel picture into CMYK, every other known one into RGB.
  info.out_color_space = info.num_components == 4 ? JCS_CMYK : JCS_RGB;
  return true;
}

// Adobe's programs write CMYK inverted, and PIL takes all CMYK pictures to be so: a channel's 255 means no
// ink.
void cmyk_to_rgb(const uint8_t* cmyk, uint8_t* rgb, int count) {
  for (int x = 0; x < count; ++x, cmyk += 4, rgb += 3) {
    const int light = cmyk[3];
    for (int c = 0; c < 3; ++c) {
      const int product = (255 - cmyk[c]) * light + 128;
      rgb[c] = uint8_t(light - ((product + (product >> 8)) >> 8));  // light - round(ink * light / 255)
    }
  }
}

bool JpegReader::read_pixels(uint8_t* rgb) {
  if (setjmp(on_error)) return false;
  jpeg_start_decompress(&info);
  const int width = int(info.output_width);
  const bool is_cmyk = info.out_color_space == JCS_CMYK;
  JSAMPARRAY line = nullptr;
  if (is_cmyk)
    line =
        info.mem->alloc_sarray(reinterpret_cast<j_common_ptr>(&info), JPOOL_IMAGE, JDIMENSION(width) * 4, 1);
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = rgb + size_t(info.output_scanline) * width * 3;
    jpeg_read_scanlines(&info, is_cmyk ? line : &row, 1);
    if (is_cmyk) cmyk_to_rgb(line[0], row, width);
  }
  jpeg_finish_decompress(&info);
  return true;
}

}  // namespace

Image decode_jpeg(std::span<const uint8_t> bytes, const std::string& name, int64_t max_pixels) {
  JpegReader reader(bytes);
  if (!reader.read_header()) fail<FileError>("{}: damaged JPEG: {}", name, reader.message);
  check_image_size(reader.info.image_width, reader.info.image_height, max_pixels, name);
  Image image(int(reader.info.image_width), int(reader.info.image_height));
  if (!reader.read_pixels(image.pixels.data())) fail<FileError>("{}: damaged JPEG: {}", name, reader.message);
  return image;
}

}  // namespace taper
