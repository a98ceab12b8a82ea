#pragma once
// What TensorBoard shows of one step: scalars, histograms, images and texts, each under a tag. A slash in a tag
// begins a new section: "train/loss". Values are written as PyTorch's SummaryWriter does
// (torch/utils/tensorboard/summary.py), so that whatever reads its files reads these. The messages:
// tensorflow/core/framework/summary.proto.

#include <string>
#include <string_view>

#include "taper/nn/data/image.h"
#include "taper/nn/report/histogram.h"
#include "taper/nn/report/tensorboard/protobuf.h"

namespace taper {

class EventSummary {
 public:
  /// `value` is kept as f32; NaN and infinite values are shown as such.
  EventSummary& scalar(std::string_view tag, double value);
  EventSummary& histogram(std::string_view tag, const Histogram& histogram);
  EventSummary& image(std::string_view tag, const Image& image);
  /// `markdown` is UTF-8; see escape_markdown() for text from files.
  EventSummary& text(std::string_view tag, std::string_view markdown);
  /// Data of a plugin of TensorBoard's: a message in the plugin's own format, without a value.
  EventSummary& plugin(std::string_view tag, std::string_view plugin_name, const ProtoMessage& content);

  bool empty() const { return message_.str().empty(); }
  const ProtoMessage& message() const { return message_; }

 private:
  ProtoMessage message_;
};

/// Returns the text as printable(), with a backslash before each sign that Markdown or HTML could obey.
std::string escape_markdown(std::string_view text);

}  // namespace taper
