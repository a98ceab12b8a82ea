// JPEG through libjpeg-turbo, with its and PIL's defaults: accurate integer DCT, smooth chroma upsampling.

#include <csetjmp>
#include <cstdio>  // jpeglib.h needs FILE

#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <new>

#include "taper/core/base/error.h"
#include "taper/nn/data/image_codecs.h"

namespace taper {
namespace {

// A few bytes can describe many passes over many pixels; real images have about ten scans.
constexpr double kMaxScans = 500;
constexpr double kMaxPasses = 20;  // over an image of the most pixels

// Huffman coding takes at least one bit for a block of 64 pixels, so a byte describes at most 512 pixels, or
// twice as many with unusual sampling of channels. (Arithmetic coding has no such bound.)
constexpr double kMostPixelsPerByte = 1024;

// libjpeg's decompressor with its error handler, progress monitor and source of bytes. The libjpeg callbacks
// find it through client_data.
struct JpegReader {
  jpeg_decompress_struct info;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  jpeg_source_mgr source;
  std::jmp_buf on_error;
  char message[JMSG_LENGTH_MAX];
  int error_code;     // libjpeg's code for `message`; 0 if the message is ours
  int64_t max_scans;  // for this image
  bool may_end;       // the pixels are complete, whether or not the file has an end marker
  bool has_ended;     // without an end marker

  JpegReader(std::span<const uint8_t> bytes, const ImageLimits& limits);
  ~JpegReader() { jpeg_destroy_decompress(&info); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  // All return false with `message` set if libjpeg rejects the file. start() reads all scans of an image with
  // several; its memory is in proportion to the image.
  bool read_header();
  bool start();
  bool read_pixels(uint8_t* rgb);
};

[[noreturn]] void refuse(JpegReader& reader, const char* message, int code = 0) {
  std::snprintf(reader.message, sizeof reader.message, "%s", message);
  reader.error_code = code;
  std::longjmp(reader.on_error, 1);
}

[[noreturn]] void refuse_short_file(JpegReader& reader) {
  refuse(reader, "the file is cut short");
}

[[noreturn]] void error_exit(j_common_ptr info) {
  auto& reader = *static_cast<JpegReader*>(info->client_data);
  char text[JMSG_LENGTH_MAX];
  info->err->format_message(info, text);
  refuse(reader, text, info->err->msg_code);
}

// As in PIL, a warning (surplus bytes, damaged pixels) is no error, unless pixels lie beyond the file's end.
void watch_warnings(j_common_ptr info, int level) {
  auto& reader = *static_cast<JpegReader*>(info->client_data);
  if (level < 0 && info->err->msg_code == JWRN_HIT_MARKER && reader.has_ended) refuse_short_file(reader);
}

void watch_scans(j_common_ptr info) {
  auto& reader = *static_cast<JpegReader*>(info->client_data);
  if (reader.info.input_scan_number > reader.max_scans) refuse(reader, "too many scans");
}

// All bytes are there from the beginning, so a request for more means that the file was cut short. Where only
// the end marker can be missing, libjpeg gets one, and warns if it wanted more.
boolean no_more_bytes(j_decompress_ptr info) {
  static constexpr JOCTET kEndMarker[] = {0xFF, JPEG_EOI};
  auto& reader = *static_cast<JpegReader*>(info->client_data);
  if (!reader.may_end) refuse_short_file(reader);
  reader.has_ended = true;
  info->src->next_input_byte = kEndMarker;
  info->src->bytes_in_buffer = sizeof kEndMarker;
  return TRUE;
}

void skip_bytes(j_decompress_ptr info, long count) {
  if (count <= 0) return;
  if (size_t(count) > info->src->bytes_in_buffer)
    refuse_short_file(*static_cast<JpegReader*>(info->client_data));
  info->src->next_input_byte += count;
  info->src->bytes_in_buffer -= size_t(count);
}

JpegReader::JpegReader(std::span<const uint8_t> bytes, const ImageLimits& limits)
    : info{},
      errors{},
      progress{},
      source{},
      message{},
      error_code(0),
      max_scans(int64_t(kMaxScans)),
      may_end(false),
      has_ended(false) {
  info.err = jpeg_std_error(&errors);
  errors.error_exit = error_exit;
  errors.emit_message = watch_warnings;
  info.client_data = this;
  if (setjmp(on_error)) return;  // read_header sees the message
  jpeg_create_decompress(&info);
  info.mem->max_memory_to_use = limits.max_decoder_bytes;
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
  // libjpeg turns every 4-channel image into CMYK, every other known one into RGB.
  info.out_color_space = info.num_components == 4 ? JCS_CMYK : JCS_RGB;
  return true;
}

bool JpegReader::start() {
  if (setjmp(on_error)) return false;
  jpeg_start_decompress(&info);
  // What a missing scan would have added is unknown; arithmetic coding never ends.
  may_end = !jpeg_has_multiple_scans(&info) && !info.arith_code;
  return true;
}

// Adobe's programs write CMYK inverted, and PIL expects that of all CMYK images: 255 means no ink.
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
  return true;
}

[[noreturn]] void refuse_jpeg(const JpegReader& reader, const ImageLimits& limits, const std::string& name) {
  if (reader.error_code == JERR_OUT_OF_MEMORY) throw std::bad_alloc();
  if (reader.error_code == JERR_NO_BACKING_STORE)
    fail<FileError>("{}: image of {} x {} pixels: its decoder needs more memory than the limit of {} bytes",
                    name, reader.info.image_width, reader.info.image_height, limits.max_decoder_bytes);
  fail<FileError>("{}: damaged JPEG: {}", name, reader.message);
}

}  // namespace

Image decode_jpeg(std::span<const uint8_t> bytes, const std::string& name, const ImageLimits& limits) {
  JpegReader reader(bytes, limits);
  if (!reader.read_header()) refuse_jpeg(reader, limits, name);
  const int64_t width = reader.info.image_width, height = reader.info.image_height;
  check_image_size(width, height, limits, bytes.size(), reader.info.arith_code ? 1e18 : kMostPixelsPerByte,
                   name);
  const double passes = kMaxPasses * double(limits.max_pixels) / double(width * height);
  reader.max_scans = int64_t(std::min(kMaxScans, passes));
  if (!reader.start()) refuse_jpeg(reader, limits, name);
  Image image{int(width), int(height)};
  if (!reader.read_pixels(image.pixels.data())) refuse_jpeg(reader, limits, name);
  return image;
}

}  // namespace taper
