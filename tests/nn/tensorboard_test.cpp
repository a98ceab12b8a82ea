// TensorBoard's files, byte by byte: checksums, messages, histograms, pictures and the graph. What a whole run
// writes is read back in cli/watching_test.py.

#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "file_bytes.h"
#include "taper/autograd/functions.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/layers/sequential.h"
#include "taper/nn/report/bitmap_font.h"
#include "taper/nn/report/histogram.h"
#include "taper/nn/report/pictures.h"
#include "taper/nn/report/tensorboard/event_writer.h"
#include "taper/nn/report/tensorboard/graph_def.h"
#include "taper/ops/copy/copy.h"
#include "temporary_folder.h"
#include "test_tensors.h"

using namespace taper;
using Catch::Contains;

namespace {

std::string bytes_of(std::initializer_list<int> values) {
  return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE("checksums are those of RFC 3720") {
  CHECK(crc32c("123456789") == 0xe3069283);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aa);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43);
  CHECK(crc32c("") == 0);
  CHECK(masked_crc32c("") == 0xa282ead8);
}

TEST_CASE("messages are Protocol Buffers' wire format") {
  CHECK(ProtoMessage().integer(1, 150).str() == bytes_of({0x08, 0x96, 0x01}));
  CHECK(ProtoMessage().integer(2, 0).str() == bytes_of({0x10, 0x00}));
  CHECK(ProtoMessage().integer(1, -1).str() == bytes_of({0x08}) + std::string(9, '\xff') + '\x01');
  CHECK(ProtoMessage().text(2, "testing").str() == bytes_of({0x12, 7}) + "testing");
  CHECK(ProtoMessage().message(3, ProtoMessage().integer(1, 150)).str() ==
        bytes_of({0x1a, 3, 0x08, 0x96, 0x01}));
  CHECK(ProtoMessage().integer(16, 1).str() == bytes_of({0x80, 0x01, 0x01}));
  CHECK(ProtoMessage().single(5, 1).str() == bytes_of({0x2d, 0, 0, 0x80, 0x3f}));
  CHECK(ProtoMessage().number(1, 1).str() == bytes_of({0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f}));
  const std::vector<double> ones = {1, 1};
  CHECK(ProtoMessage().numbers(6, ones).str().size() == 18);
  // Readers refuse text that is no UTF-8, but take any bytes.
  CHECK(ProtoMessage().text(1, "caf\xc3\xa9").str() == bytes_of({0x0a, 5}) + "caf\xc3\xa9");
  CHECK(ProtoMessage().text(1, "caf\xe9").str() == bytes_of({0x0a, 7}) + "caf\\xe9");
  CHECK(ProtoMessage().bytes(1, "\xe9").str() == bytes_of({0x0a, 1}) + "\xe9");
}

TEST_CASE("a record is its length, its bytes and their checksums") {
  const TemporaryFolder folder;
  RecordFile(folder / "records").write("abc");
  const std::string bytes = read_bytes(folder / "records");
  REQUIRE(bytes.size() == 8 + 4 + 3 + 4);
  CHECK(bytes.substr(0, 8) == std::string("\x03\0\0\0\0\0\0\0", 8));
  const auto number_at = [&](size_t at) {
    uint32_t number = 0;
    for (size_t i = 4; i-- > 0;) number = number << 8 | uint8_t(bytes[at + i]);
    return number;
  };
  CHECK(number_at(8) == masked_crc32c(bytes.substr(0, 8)));
  CHECK(bytes.substr(12, 3) == "abc");
  CHECK(number_at(15) == masked_crc32c("abc"));
}

TEST_CASE("every writer has a file of its own, in a folder that it makes") {
  const TemporaryFolder folder;
  const EventWriter first(folder / "a/b"), second(folder / "a/b");
  CHECK(first.path() != second.path());
  CHECK_THAT(first.path(), Contains("a/b/events.out.tfevents."));
  CHECK_THROWS_AS(EventWriter("/proc/no-folder"), FileError);
  write_bytes(folder / "file", "x");
  CHECK_THROWS_AS(EventWriter(folder / "file"), FileError);
}

TEST_CASE("a histogram holds every value between its limits") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    for (const DType dtype : {kFloat32, kFloat64, kBFloat16}) {
      std::vector<double> values = {0, -0.0, 1, -1, 1.25, 3e-20, -7, 1024, 1e-7, -1e-7, 1.3};
      const Tensor x = ops::to_device(ops::cast(from_vector(values, {11}), dtype), device);
      const Histogram histogram = histogram_of(x);
      values = ops::to_vector<double>(x);
      CHECK(histogram.count == 11);
      CHECK(histogram.not_finite == 0);
      CHECK(histogram.least == -7);
      CHECK(histogram.largest == 1024);
      CHECK(histogram.sum == Approx(std::accumulate(values.begin(), values.end(), 0.0)));
      REQUIRE(histogram.limits.size() == histogram.counts.size());
      double left = -INFINITY;
      for (size_t i = 0; i < histogram.limits.size(); ++i) {
        CAPTURE(i, left, histogram.limits[i]);
        CHECK(left < histogram.limits[i]);
        // A negative value may lie on the left limit, a positive one too: count as the buckets do.
        const auto inside = std::ranges::count_if(values, [&](double value) {
          const double limit = histogram.limits[i];
          return value > 0 ? value >= left && value < limit : value > left && value <= limit;
        });
        CHECK(histogram.counts[i] == double(inside));
        left = histogram.limits[i];
      }
      CHECK(left > 1024);
      CHECK(left <= 1280);  // a quarter of its power of two
    }
    const Histogram strange = histogram_of(
        ops::to_device(from_vector(std::vector<double>{NAN, 2, INFINITY, -INFINITY}, {4}), device));
    CHECK(strange.count == 1);
    CHECK(strange.not_finite == 3);
    CHECK(strange.sum == 2);
    CHECK(strange.counts == std::vector<double>{1});
    CHECK(histogram_of(empty({0}, {.device = device})).limits.empty());
  }
}

TEST_CASE("a PNG image holds the pixels that were written") {
  Image image(7, 5);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = uint8_t(37 * i);
  CHECK(decode_image(encode_png(image), "image") == image);
  CHECK_THROWS_AS(encode_png(Image()), Error);
}

TEST_CASE("text is drawn, and cut where the image ends") {
  Image image(20, 10);
  draw_text(image, 0, 0, "I", {255, 255, 255});
  std::string rows;
  for (int y = 0; y < 7; ++y) {
    for (int x = 0; x < 5; ++x) rows += image.row(y)[3 * x] != 0 ? '#' : '.';
    rows += '\n';
  }
  CHECK(rows == ".###.\n..#..\n..#..\n..#..\n..#..\n..#..\n.###.\n");
  draw_text(image, -3, -3, "\xc3\xa9~\x7f\n", {1, 2, 3});
  draw_text(image, 18, 8, "long text", {1, 2, 3});
  Image question(20, 10), unknown(20, 10);
  draw_text(question, 0, 0, "??", {9, 9, 9});
  draw_text(unknown, 0, 0, "\xc3\xa9\x01", {9, 9, 9});
  CHECK(question == unknown);
}

TEST_CASE("the confusion matrix is drawn in the colours of its shares") {
  const std::vector<std::string> names = {"cat", "dog"};
  const Image image = confusion_picture({{{0, 0}, 3}, {{0, 1}, 1}, {{5, 0}, 1}}, names);
  const auto pixel = [&](int x, int y) {
    return std::vector<int>(image.row(y) + 3 * x, image.row(y) + 3 * x + 3);
  };
  const int left = image.width - 2 * 32 - 1, top = image.height - 2 * 32 - 1;
  REQUIRE(left > 0);
  const int x0 = 7 * kLetterWidth, y0 = top;  // "0 cat" and what is between
  const auto right = pixel(x0 + 2, y0 + 2), wrong = pixel(x0 + 34, y0 + 2), none = pixel(x0 + 2, y0 + 34);
  CHECK(right[2] > right[0]);  // blue
  CHECK(wrong[0] > wrong[2]);  // red
  CHECK(none == std::vector<int>{255, 255, 255});
  CHECK(confusion_picture({}, std::vector<std::string>(3000, "class")).width == 1025);
  CHECK_THROWS_AS(confusion_picture({}, {}), Error);
  const Image sheet = contact_sheet(std::vector<CaptionedImage>(5, {Image(32, 32), "cat", "dog", false}));
  CHECK(sheet.width == 4 * (96 + 8) + 8);
  CHECK(sheet.height == 2 * (96 + 8 + 20) + 8);
  CHECK_THROWS_AS(contact_sheet({}), Error);
}

TEST_CASE("the graph has the ops up to the first gradient, in the boxes of their modules") {
  Sequential model;
  model.add<Linear>(3, 4).add<Linear>(4, 2);
  const Tensor x = random_tensor({5, 3}, kFloat32);
  OpTrace trace;
  const Tensor y = sum(relu(model(x)));
  y.backward();
  const std::string graph = graph_def(trace, model).str();
  for (const char* name : {"0/weight", "0/bias", "1/weight", "0/linear", "1/linear", "relu", "sum", "input"})
    CHECK_THAT(graph, Contains(name));
  CHECK_THAT(graph, !Contains("backward"));
  CHECK(trace.number(x) >= 0);
  CHECK(trace.number(ones({1})) == -1);
}
