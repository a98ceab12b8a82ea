// Reading and resizing images: the bits of PIL and torchvision, and files that must be rejected.

#include "taper/nn/data/image.h"

#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "child_process.h"
#include "images.h"
#include "oracle.h"
#include "taper/core/base/error.h"
#include "taper/core/philox.h"
#include "taper/nn/data/resize.h"
#include "taper/nn/data/transforms.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/image/normalize_images.h"
#include "test_tensors.h"

using namespace taper;
using namespace taper::test;
using Catch::Contains;

namespace {

Image read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int width = 0, height = 0, maximum = 0;
  file >> magic >> width >> height >> maximum;
  file.get();
  Image image(width, height);
  file.read(reinterpret_cast<char*>(image.pixels.data()), std::streamsize(image.pixels.size()));
  REQUIRE(magic == "P6");
  REQUIRE(file.good());
  return image;
}

// Returns the message of the error that decoding throws; empty if it decodes.
std::string refusal(const std::vector<uint8_t>& bytes, const ImageLimits& limits = {}) {
  try {
    decode_image(bytes, "image", limits);
    return "";
  } catch (const FileError& error) {
    return error.what();
  }
}

/// Returns the most memory that this process has used so far.
int64_t peak_kilobytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

[[maybe_unused]] rlim_t address_space_bytes() {
  std::ifstream file("/proc/self/statm");
  rlim_t pages = 0;
  file >> pages;
  return pages * rlim_t(sysconf(_SC_PAGESIZE));
}

struct Case {
  std::string action, source;
  std::vector<int> numbers;
  std::string expected;
};

std::vector<Case> read_cases(const std::string& folder) {
  std::vector<Case> cases;
  std::ifstream file(folder + "/cases.txt");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    Case c;
    words >> c.action >> c.source;
    for (int number; words >> number;) c.numbers.push_back(number);
    words.clear();
    words >> c.expected;
    cases.push_back(c);
  }
  return cases;
}

Image apply(const Case& c, const std::string& folder) {
  if (c.action == "decode") return read_image(folder + "/" + c.source);
  const Image image = read_ppm(folder + "/" + c.source);
  const auto& n = c.numbers;
  if (c.action == "flip") return flip_horizontal(image);
  if (c.action == "resize") return resize(image, n.at(0), n.at(1));
  if (c.action == "shorter") return resize_shorter_side(image, n.at(0));
  if (c.action == "center") return center_crop(image, n.at(0));
  if (c.action == "box") return resize(image, Box{n.at(0), n.at(1), n.at(2), n.at(3)}, n.at(4), n.at(4));
  if (c.action == "evaluate") return resize_and_center_crop(image, n.at(0), n.at(1));
  fail("no such case: {}", c.action);
}

}  // namespace

TEST_CASE("images decode, resize and crop to the bits of PIL and torchvision", "[oracle]") {
  const auto folder = oracle_dir("image");
  if (!folder) return;
  const auto cases = read_cases(*folder);
  REQUIRE(cases.size() > 500);
  for (const Case& c : cases) {
    INFO(c.action << " " << c.source << " -> " << c.expected << " (" << Catch::Detail::stringify(c.numbers)
                  << ")");
    if (c.action == "refuse") {
      CHECK_THROWS_AS(read_image(*folder + "/" + c.source), FileError);
      continue;
    }
    const Image got = apply(c, *folder), want = read_ppm(*folder + "/" + c.expected);
    CHECK(got.width == want.width);
    CHECK(got.height == want.height);
    CHECK((got.pixels == want.pixels));
  }
}

TEST_CASE("pixels are normalised to torchvision's f32 numbers", "[oracle]") {
  const auto folder = oracle_dir("image");
  if (!folder) return;
  std::vector<float> want(3 * 256);  // [channel][value]
  std::ifstream file(*folder + "/normalized.f32", std::ios::binary);
  REQUIRE(file.read(reinterpret_cast<char*>(want.data()), std::streamsize(want.size() * sizeof(float))));
  const Tensor ramp = empty({1, 1, 256, 3}, {.dtype = kUInt8});
  for (int i = 0; i < 3 * 256; ++i) ramp.data<uint8_t>()[i] = uint8_t(i / 3);
  for (const Device device : test_devices()) {
    const Tensor got = ops::normalize_images(ops::to_device(ramp, device));  // [1, channel, 1, value]
    CHECK(ops::to_vector<float>(got) == want);
  }
}

TEST_CASE("PNG files of 1 to 4 channels become RGB") {
  const std::vector<uint8_t> samples = {10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120};
  const auto decode = [&](int channels) {
    return decode_image(png_bytes(1, 3, channels, {samples.begin(), samples.begin() + 3 * channels}), "image")
        .pixels;
  };
  CHECK(decode(1) == std::vector<uint8_t>{10, 10, 10, 20, 20, 20, 30, 30, 30});
  CHECK(decode(2) == std::vector<uint8_t>{10, 10, 10, 30, 30, 30, 50, 50, 50});
  CHECK(decode(3) == std::vector<uint8_t>{10, 20, 30, 40, 50, 60, 70, 80, 90});
  CHECK(decode(4) == std::vector<uint8_t>{10, 20, 30, 50, 60, 70, 90, 100, 110});
}

TEST_CASE("JPEG files of 1, 3 and 4 channels become RGB") {
  // Flat images survive compression up to rounding.
  const auto decode = [&](int channels, std::vector<uint8_t> pixel) {
    std::vector<uint8_t> samples;
    for (int i = 0; i < 20 * 10; ++i) samples.insert(samples.end(), pixel.begin(), pixel.end());
    const Image image = decode_image(jpeg_bytes(20, 10, channels, samples, 100), "image");
    CHECK(image.width == 20);
    CHECK(image.height == 10);
    return std::vector<int>(image.pixels.begin(), image.pixels.begin() + 3);
  };
  const auto near = [](std::vector<int> got, std::vector<int> want) {
    for (int c = 0; c < 3; ++c) CHECK(std::abs(got[c] - want[c]) <= 2);
  };
  near(decode(1, {77}), {77, 77, 77});
  near(decode(3, {200, 100, 50}), {200, 100, 50});
  near(decode(4, {255, 128, 0, 255}), {255, 128, 0});  // as Adobe writes it: 255 is no ink
}

TEST_CASE("an image that cannot be read is one FileError that names it") {
  const Image image = test_image(40, 30);
  const auto jpeg = jpeg_bytes(image), png = png_bytes(image);
  CHECK(refusal(jpeg) == "");
  CHECK(refusal(png) == "");

  CHECK(refusal({}) == "image: empty file");
  CHECK(refusal({'h', 'e', 'l', 'l', 'o'}) == "image: not a JPEG or PNG image");
  CHECK_THAT(refusal({jpeg.begin(), jpeg.begin() + 300}),
             Contains("image: damaged JPEG") && Contains("cut short"));
  CHECK_THAT(refusal({png.begin(), png.begin() + 300}),
             Contains("image: damaged PNG") && Contains("cut short"));
  CHECK_THAT(refusal(jpeg, {.max_pixels = 40 * 30 - 1}),
             Contains("40 x 30") && Contains("over the limit of 1199"));
  CHECK_THAT(refusal(png, {.max_pixels = 40 * 30 - 1}),
             Contains("40 x 30") && Contains("over the limit of 1199"));
  CHECK(refusal(png, {.max_pixels = 40 * 30}) == "");

  // The kind of a foreign file is told from its bytes, whatever its name.
  const std::vector<std::pair<std::string, std::string>> kinds = {
      {"RIFF....WEBPVP8 ", "WebP"}, {"GIF89a", "GIF"},        {"BM......", "BMP"},
      {{"MM\0*", 4}, "TIFF"},       {"....ftypavif", "AVIF"}, {"....ftypheic", "HEIC"}};
  for (const auto& [bytes, kind] : kinds)
    CHECK(refusal({bytes.begin(), bytes.end()}) ==
          "image: not a JPEG or PNG image but " + kind + "; convert it to one of these");

  const TemporaryFolder folder;
  CHECK_THROWS_WITH(read_image(folder / "none.png"), folder / "none.png" + ": no such file");
  const std::string long_name = folder / std::string(300, 'x');
  CHECK_THROWS_WITH(read_image(long_name), long_name + ": cannot be read: File name too long");
  std::filesystem::create_symlink("loop.png", folder / "loop.png");
  CHECK_THROWS_WITH(read_image(folder / "loop.png"),
                    folder / "loop.png" + ": cannot be read: Too many levels of symbolic links");
  CHECK_THROWS_WITH(read_image(folder.path()), folder.path() + ": not a file");
  write_file(folder / "a.png", {png.begin(), png.begin() + 60});
  CHECK_THROWS_WITH(read_image(folder / "a.png"), Contains(folder / "a.png"));
}

TEST_CASE("a small file that claims a huge image takes no memory") {
  // Width and height are bytes 16 to 23, the header's checksum 29 to 32. Where the size is rejected first,
  // the checksum may be wrong; below, libpng's own rule computes it.
  auto png = png_bytes(test_image(8, 8));
  const auto crc = [&] {
    uint32_t value = ~0u;
    for (int i = 12; i < 29; ++i) {
      value ^= png[i];
      for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0u);
    }
    return ~value;
  };
  const auto set = [&](int at, uint32_t value) {
    for (int i = 0; i < 4; ++i) png[at + i] = uint8_t(value >> (24 - 8 * i));
  };
  set(16, 13'000);
  set(20, 13'000);
  set(29, crc());
  CHECK_THAT(refusal(png), Contains("cut short"));
  set(16, 900'000);
  set(20, 900'000);
  set(29, crc());
  CHECK_THAT(refusal(png), Contains("over the limit"));
}

TEST_CASE("a small JPEG file that claims a huge image takes no memory") {
  auto jpeg = jpeg_bytes(8, 8, 1, std::vector<uint8_t>(64, 100));
  const std::vector<uint8_t> frame = {0xFF, 0xC0, 0, 11, 8,
                                      0,    8,    0, 8};  // then height and width, 16 bits each
  auto size = std::ranges::search(jpeg, frame).begin();
  REQUIRE(size != jpeg.end());
  for (const int i : {5, 7}) {
    size[i] = 13376 >> 8;
    size[i + 1] = 13376 & 255;
  }
  const ChildResult result = run_in_child([&] {
    const int64_t before = peak_kilobytes();
    const std::string message = refusal(jpeg);
    std::fprintf(stderr, "%s; %d MiB", message.c_str(), int((peak_kilobytes() - before) / 1024 / 64 * 64));
  });
  CHECK_THAT(result.stderr_text, Contains("13376 x 13376") && Contains("cut short; 0 MiB"));
}

TEST_CASE("texts and profiles in a PNG file take neither memory nor time") {
  const Image image = test_image(4, 4);
  std::vector<uint8_t> text = {'T', 'e', 'x', 't', 0, 0};  // keyword, compression
  const std::vector<uint8_t> blank(7'900'000);
  std::vector<uint8_t> packed(compressBound(blank.size()));
  uLongf packed_size = packed.size();
  REQUIRE(compress(packed.data(), &packed_size, blank.data(), blank.size()) == Z_OK);
  text.insert(text.end(), packed.begin(), packed.begin() + ptrdiff_t(packed_size));
  auto international = text;
  international.insert(international.begin() + 5, {1, 0, 0, 0});  // compressed; no language, no translation
  international.erase(international.begin() + 9);
  auto png = png_bytes(image);
  for (int i = 0; i < 10; ++i) {
    png = with_png_chunk(png, "zTXt", text);
    png = with_png_chunk(png, "iTXt", international);
  }
  const ChildResult result = run_in_child([&] {
    const int64_t before = peak_kilobytes();
    const bool same = decode_image(png, "image") == image;
    std::fprintf(stderr, "%d %d MiB", int(same), int((peak_kilobytes() - before) / 1024 / 64 * 64));
  });
  CHECK(result.stderr_text == "1 0 MiB");
}

TEST_CASE("what one image may cost is limited") {
  const Image image = test_image(300, 200);
  const auto progressive = jpeg_bytes(image, 90, true), baseline = jpeg_bytes(image);
  CHECK(refusal(progressive) == "");
  CHECK(refusal(baseline, {.max_decoder_bytes = 100'000}) == "");
  CHECK_THAT(
      refusal(progressive, {.max_decoder_bytes = 100'000}),
      Contains("image: image of 300 x 200 pixels") && Contains("more memory than the limit of 100000"));

  // Repeats the last scan: an image of the most pixels may have 20 scans, a smaller one more.
  const std::vector<uint8_t> scan_mark = {0xFF, 0xDA};
  const auto last_scan = std::ranges::find_end(progressive, scan_mark).begin();
  const auto with_scans = [&](int count) {
    std::vector<uint8_t> bytes(progressive.begin(), last_scan);
    for (int i = 0; i < count; ++i) bytes.insert(bytes.end(), last_scan, progressive.end() - 2);
    bytes.insert(bytes.end(), progressive.end() - 2, progressive.end());
    return bytes;
  };
  CHECK(refusal(with_scans(8), {.max_pixels = 300 * 200}) == "");
  CHECK_THAT(refusal(with_scans(30), {.max_pixels = 300 * 200}), Contains("too many scans"));
  CHECK(refusal(with_scans(30), {.max_pixels = 2 * 300 * 200}) == "");
  CHECK_THAT(refusal(with_scans(501)), Contains("too many scans"));

  const TemporaryFolder folder;
  write_file(folder / "a.jpg", baseline);
  const auto size = int64_t(baseline.size());
  CHECK(read_image(folder / "a.jpg", {.max_file_bytes = size}) == decode_image(baseline, "a"));
  CHECK_THROWS_WITH(read_image(folder / "a.jpg", {.max_file_bytes = size - 1}),
                    Contains(fmt::format("file of {} bytes is over the limit of {}", size, size - 1)));
  std::filesystem::resize_file(folder / "a.jpg", uintmax_t(1) << 30);
  CHECK_THROWS_WITH(read_image(folder / "a.jpg"), Contains("over the limit of 536870912"));
}

TEST_CASE("a lack that is not the image's own is no damage") {
  const TemporaryFolder folder;
  const Image image(1500, 1500);
  write_file(folder / "a.png", png_bytes(image));
  write_file(folder / "a.jpg", jpeg_bytes(image, 90, true));
  rlimit files = {};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &files) == 0);
  const rlimit none = {.rlim_cur = 0, .rlim_max = files.rlim_max};
  std::string message;
  bool is_file_error = false;
  setrlimit(RLIMIT_NOFILE, &none);
  try {
    read_image(folder / "a.png");
  } catch (const Error& error) {
    message = error.what();
    is_file_error = dynamic_cast<const FileError*>(&error) != nullptr;
  }
  setrlimit(RLIMIT_NOFILE, &files);
  CHECK(message == folder / "a.png" + ": cannot be read: Too many open files");
  CHECK_FALSE(is_file_error);

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which end the process themselves
  for (const char* name : {"a.png", "a.jpg"}) {
    const ChildResult result = run_in_child([&] {
      // No block of 1 MB is left, for the pixels or for the coefficients of the progressive JPEG.
      const rlimit little = {.rlim_cur = address_space_bytes() + 500'000, .rlim_max = RLIM_INFINITY};
      setrlimit(RLIMIT_AS, &little);
      std::vector<void*> held;
      held.reserve(10'000);
      while (void* block = std::malloc(1 << 20)) held.push_back(block);
      try {
        read_image(folder / name);
      } catch (const OutOfMemoryError& error) {
        std::fprintf(stderr, "%s", error.what());
      } catch (const std::exception& error) {
        std::fprintf(stderr, "another error: %s", error.what());
      }
    });
    CHECK(result.stderr_text == folder / name + ": not enough memory to read this image");
  }
#endif
}

TEST_CASE("an image that lost only what follows its pixels is read") {
  for (const auto& [width, height] : {std::pair(40, 30), std::pair(1, 1), std::pair(9, 17)}) {
    CAPTURE(width, height);
    const Image image = test_image(width, height);
    for (const auto& png : {png_bytes(image), interlaced_png_bytes(image)}) {
      const auto cut = [&](size_t count) { return std::vector(png.begin(), png.end() - ptrdiff_t(count)); };
      constexpr size_t kEnd = 12, kChecksum = 4;  // the end chunk; that of the pixels' chunk
      for (size_t count = 1; count <= kEnd + kChecksum; ++count) {
        CAPTURE(count);
        CHECK(decode_image(cut(count), "image") == image);
      }
      for (size_t count = kEnd + kChecksum + 1; count <= kEnd + kChecksum + 8; ++count)
        CHECK(refusal(cut(count)) == "image: damaged PNG: the file is cut short");
      auto damaged = png;
      damaged[png.size() - kEnd - 1] ^= 1;
      CHECK_THAT(refusal(damaged), Contains("damaged PNG") && Contains("CRC"));
    }

    const auto jpeg = jpeg_bytes(image), progressive = jpeg_bytes(image, 90, true);
    const auto cut = [](const std::vector<uint8_t>& bytes, int count) {
      return std::vector(bytes.begin(), bytes.end() - count);
    };
    for (const int count : {1, 2})
      CHECK(decode_image(cut(jpeg, count), "image") == decode_image(jpeg, "image"));
    for (const int count : {4, 6, 8}) CHECK_THAT(refusal(cut(jpeg, count)), Contains("cut short"));
    // Nobody can tell whether a progressive image lacks a scan.
    for (const int count : {1, 2, 8}) CHECK_THAT(refusal(cut(progressive, count)), Contains("cut short"));
  }
}

TEST_CASE("mutated images decode or throw FileError, nothing else") {
  const Image image = test_image(37, 29);
  std::vector<uint8_t> gray(image.pixels.begin(), image.pixels.begin() + 37 * 29);
  std::vector<uint8_t> cmyk(size_t(4) * 37 * 20, 90);
  const std::vector<std::vector<uint8_t>> files = {png_bytes(image), jpeg_bytes(image),
                                                   jpeg_bytes(37, 29, 1, gray), jpeg_bytes(37, 20, 4, cmyk),
                                                   png_bytes(37, 29, 1, gray)};
  const Philox random{.seed = 7};
  uint64_t counter = 0;
  const auto below = [&](size_t n) { return size_t(random(counter++)[0]) % n; };
  int refused = 0, total = 0;
  for (const auto& file : files) {
    for (int round = 0; round < 200; ++round, ++total) {
      auto bytes = file;
      // Damage mostly near the beginning, where the headers are.
      for (size_t i = 0, edits = 1 + below(4); i < edits; ++i)
        bytes[below(below(2) ? bytes.size() : std::min<size_t>(bytes.size(), 600))] = uint8_t(below(256));
      if (below(4) == 0) bytes.resize(below(bytes.size()));
      refused += refusal(bytes, {.max_pixels = 1 << 20}) != "";
    }
  }
  CHECK(refused > total / 4);
  CHECK(refused < total);
}

TEST_CASE("resize, crop and flip keep what they promise") {
  const Image image = test_image(31, 22);
  CHECK(resize(image, 31, 22) == image);
  CHECK(flip_horizontal(flip_horizontal(image)) == image);
  CHECK(flip_horizontal(image).row(3)[0] == image.row(3)[3 * 30]);
  CHECK(crop(image, {0, 0, 31, 22}) == image);

  const Image inner = crop(image, {5, 7, 11, 6});
  CHECK(inner.row(2)[3 * 4 + 1] == image.row(9)[3 * 9 + 1]);
  CHECK(resize(image, {5, 7, 11, 6}, 8, 9) == resize(inner, 8, 9));

  const Image beyond = crop(image, {-2, 20, 4, 4});
  CHECK(beyond.row(0)[3 * 1] == 0);
  CHECK(beyond.row(0)[3 * 2] == image.row(20)[0]);
  CHECK(beyond.row(2)[3 * 2] == 0);
  CHECK(crop(image, {100, 100, 2, 2}) == Image(2, 2));

  Image flat(50, 40);
  std::fill(flat.pixels.begin(), flat.pixels.end(), uint8_t(201));
  for (const uint8_t value : resize(flat, 7, 90).pixels) CHECK(value == 201);

  CHECK(resize_shorter_side(image, 11).width == 15);  // int(11 * 31 / 22)
  CHECK(resize_shorter_side(image, 11).height == 11);
  CHECK(center_crop(image, 64).width == 64);
  CHECK(resize_and_center_crop(image, 37, 32) == center_crop(resize_shorter_side(image, 37), 32));

  // The whole of this image would be 256 x 25,600,000 pixels.
  const Image thread = crop(image, {0, 0, 1, 100'000});
  CHECK(resize_and_center_crop(thread, 256, 224) == Image(224, 224));
  CHECK_THROWS_WITH(resize_shorter_side(thread, 256), Contains("1 x 100000 would become 256 x 25600000"));

  CHECK_THROWS_WITH(resize(image, 0, 5), Contains("resize: size must be positive"));
  CHECK_THROWS_WITH(resize(image, {30, 0, 2, 2}, 5, 5), Contains("not inside an image of 31 x 22"));
  CHECK_THROWS_WITH(resize_shorter_side(image, 0), Contains("resize_shorter_side"));
  CHECK_THROWS_WITH(center_crop(image, -1), Contains("center_crop"));
  CHECK_THROWS_WITH(crop(image, {0, 0, 0, 1}), Contains("crop: size must be positive"));
}

TEST_CASE("images are known by their extension") {
  CHECK(has_image_extension("a/b.jpg"));
  CHECK(has_image_extension("B.JPEG"));
  CHECK(has_image_extension("c.x.Png"));
  CHECK_FALSE(has_image_extension("jpg"));
  CHECK_FALSE(has_image_extension("a.gif"));
}
