#include "taper/nn/data/image.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <sstream>

#include "oracle.h"
#include "pictures.h"
#include "taper/core/error.h"
#include "taper/core/philox.h"
#include "taper/nn/data/resize.h"
#include "taper/nn/data/transforms.h"

using namespace taper;
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

// The message of the error that decoding throws; empty if it decodes.
std::string refusal(const std::vector<uint8_t>& bytes, int64_t max_pixels = kMaxPixels) {
  try {
    decode_image(bytes, "picture", max_pixels);
    return "";
  } catch (const FileError& error) {
    return error.what();
  }
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

TEST_CASE("pictures decode, resize and crop to the bits of PIL and torchvision") {
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

TEST_CASE("pixels are normalised to torchvision's f32 numbers") {
  const auto folder = oracle_dir("image");
  if (!folder) return;
  std::vector<float> want(3 * 256);  // [channel][value]
  std::ifstream file(*folder + "/normalized.f32", std::ios::binary);
  REQUIRE(file.read(reinterpret_cast<char*>(want.data()), std::streamsize(want.size() * sizeof(float))));
  Image ramp(256, 1);
  for (int i = 0; i < 3 * 256; ++i) ramp.pixels[size_t(i)] = uint8_t(i / 3);
  std::vector<float> got(3 * 256, NAN);  // [value][channel]
  normalize_pixels(ramp, got.data());
  for (int value = 0; value < 256; ++value)
    for (int c = 0; c < 3; ++c) CHECK(got[size_t(value * 3 + c)] == want[size_t(c * 256 + value)]);
}

TEST_CASE("PNG files of 1 to 4 channels become RGB") {
  const std::vector<uint8_t> samples = {10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120};
  const auto decode = [&](int channels) {
    return decode_image(png_bytes(1, 3, channels, {samples.begin(), samples.begin() + 3 * channels}),
                        "picture")
        .pixels;
  };
  CHECK(decode(1) == std::vector<uint8_t>{10, 10, 10, 20, 20, 20, 30, 30, 30});
  CHECK(decode(2) == std::vector<uint8_t>{10, 10, 10, 30, 30, 30, 50, 50, 50});
  CHECK(decode(3) == std::vector<uint8_t>{10, 20, 30, 40, 50, 60, 70, 80, 90});
  CHECK(decode(4) == std::vector<uint8_t>{10, 20, 30, 50, 60, 70, 90, 100, 110});
}

TEST_CASE("JPEG files of 1, 3 and 4 channels become RGB") {
  // Flat pictures survive compression up to rounding.
  const auto decode = [&](int channels, std::vector<uint8_t> pixel) {
    std::vector<uint8_t> samples;
    for (int i = 0; i < 20 * 10; ++i) samples.insert(samples.end(), pixel.begin(), pixel.end());
    const Image image = decode_image(jpeg_bytes(20, 10, channels, samples, 100), "picture");
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

TEST_CASE("a picture that cannot be read is one FileError that names it") {
  const Image image = test_picture(40, 30);
  const auto jpeg = jpeg_bytes(image), png = png_bytes(image);
  CHECK(refusal(jpeg) == "");
  CHECK(refusal(png) == "");

  CHECK(refusal({}) == "picture: empty file");
  CHECK(refusal({'h', 'e', 'l', 'l', 'o'}) == "picture: not a JPEG or PNG picture");
  CHECK_THAT(refusal({jpeg.begin(), jpeg.begin() + 300}),
             Contains("picture: damaged JPEG") && Contains("cut short"));
  CHECK_THAT(refusal({png.begin(), png.begin() + 300}),
             Contains("picture: damaged PNG") && Contains("cut short"));
  CHECK_THAT(refusal(jpeg, 40 * 30 - 1), Contains("40 x 30") && Contains("over the limit of 1199"));
  CHECK_THAT(refusal(png, 40 * 30 - 1), Contains("40 x 30") && Contains("over the limit of 1199"));
  CHECK(refusal(png, 40 * 30) == "");

  const TemporaryFolder folder;
  CHECK_THROWS_WITH(read_image(folder / "none.png"), folder / "none.png" + ": no such file");
  CHECK_THROWS_WITH(read_image(folder.path()), folder.path() + ": not a file");
  write_file(folder / "a.png", {png.begin(), png.begin() + 60});
  CHECK_THROWS_WITH(read_image(folder / "a.png"), Contains(folder / "a.png"));
}

TEST_CASE("a small file that claims a huge picture takes no memory") {
  // Width and height stand in bytes 16 to 23, the header's checksum in 29 to 32; the true checksum of these
  // bytes is not needed where the size is refused first, so it is computed by libpng's own rule below.
  auto png = png_bytes(test_picture(8, 8));
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

TEST_CASE("mutated pictures decode or throw FileError, nothing else") {
  const Image image = test_picture(37, 29);
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
      refused += refusal(bytes, 1 << 20) != "";
    }
  }
  CHECK(refused > total / 4);
  CHECK(refused < total);
}

TEST_CASE("resize, crop and flip keep what they promise") {
  const Image image = test_picture(31, 22);
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

  // The whole of this picture would be 256 x 25,600,000 pixels.
  const Image thread = crop(image, {0, 0, 1, 100'000});
  CHECK(resize_and_center_crop(thread, 256, 224) == Image(224, 224));
  CHECK_THROWS_WITH(resize_shorter_side(thread, 256), Contains("1 x 100000 would become 256 x 25600000"));

  CHECK_THROWS_WITH(resize(image, 0, 5), Contains("resize: size must be positive"));
  CHECK_THROWS_WITH(resize(image, {30, 0, 2, 2}, 5, 5), Contains("not inside a picture of 31 x 22"));
  CHECK_THROWS_WITH(resize_shorter_side(image, 0), Contains("resize_shorter_side"));
  CHECK_THROWS_WITH(center_crop(image, -1), Contains("center_crop"));
  CHECK_THROWS_WITH(crop(image, {0, 0, 0, 1}), Contains("crop: size must be positive"));
}

TEST_CASE("pictures are known by their extension") {
  CHECK(has_image_extension("a/b.jpg"));
  CHECK(has_image_extension("B.JPEG"));
  CHECK(has_image_extension("c.x.Png"));
  CHECK_FALSE(has_image_extension("jpg"));
  CHECK_FALSE(has_image_extension("a.gif"));
}
