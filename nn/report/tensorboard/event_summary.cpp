#include "taper/nn/report/tensorboard/event_summary.h"

#include "taper/core/base/printable.h"

namespace taper {
namespace {

// Fields of summary.proto, and DataType of types.proto.
enum ValueField {
  kValueTag = 1,
  kValueSimple = 2,
  kValueImage = 4,
  kValueHisto = 5,
  kValueTensor = 8,
  kValueMetadata = 9
};
constexpr int kSummaryValue = 1;
constexpr int kTensorFloat = 1, kTensorString = 7;

ProtoMessage tagged(std::string_view tag) {
  return ProtoMessage().text(kValueTag, tag);
}

ProtoMessage plugin_metadata(std::string_view plugin_name, std::string_view content) {
  return ProtoMessage().message(1, ProtoMessage().text(1, plugin_name).bytes(2, content));
}

/// Returns a TensorProto of one dimension, without elements yet.
ProtoMessage tensor_proto(int dtype, int64_t size) {
  return ProtoMessage().integer(1, dtype).message(2,
                                                  ProtoMessage().message(2, ProtoMessage().integer(1, size)));
}

}  // namespace

EventSummary& EventSummary::scalar(std::string_view tag, double value) {
  message_.message(kSummaryValue, tagged(tag).single(kValueSimple, float(value)));
  return *this;
}

EventSummary& EventSummary::histogram(std::string_view tag, const Histogram& histogram) {
  ProtoMessage histo;
  histo.number(1, histogram.least)
      .number(2, histogram.largest)
      .number(3, double(histogram.count))
      .number(4, histogram.sum)
      .number(5, histogram.sum_squares)
      .numbers(6, histogram.limits)
      .numbers(7, histogram.counts);
  message_.message(kSummaryValue, tagged(tag).message(kValueHisto, histo));
  return *this;
}

EventSummary& EventSummary::image(std::string_view tag, const Image& image) {
  ProtoMessage picture;
  picture.integer(1, image.height).integer(2, image.width).integer(3, 3);  // 3: RGB
  const std::vector<uint8_t> png = encode_png(image);
  picture.bytes(4, {reinterpret_cast<const char*>(png.data()), png.size()});
  message_.message(kSummaryValue, tagged(tag).message(kValueImage, picture));
  return *this;
}

EventSummary& EventSummary::text(std::string_view tag, std::string_view markdown) {
  const ProtoMessage tensor = tensor_proto(kTensorString, 1).text(8, markdown);
  message_.message(
      kSummaryValue,
      tagged(tag).message(kValueTensor, tensor).message(kValueMetadata, plugin_metadata("text", "")));
  return *this;
}

EventSummary& EventSummary::plugin(std::string_view tag, std::string_view plugin_name,
                                   const ProtoMessage& content) {
  // TensorBoard drops values without a tensor, so this one has a tensor without elements.
  message_.message(kSummaryValue, tagged(tag)
                                      .message(kValueTensor, tensor_proto(kTensorFloat, 0))
                                      .message(kValueMetadata, plugin_metadata(plugin_name, content.str())));
  return *this;
}

std::string escape_markdown(std::string_view text) {
  std::string escaped;
  for (const char c : printable(text)) {
    if (std::string_view("\\`*_{}[]()<>#+-.!|&~:").find(c) != std::string_view::npos) escaped += '\\';
    escaped += c;
  }
  return escaped;
}

}  // namespace taper
