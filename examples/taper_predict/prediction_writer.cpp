#include "prediction_writer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "taper/core/base/printable.h"

namespace taper {
namespace {

/// Returns how many columns a terminal takes for printable text, about: one for each character.
size_t columns(const std::string& text) {
  return size_t(std::ranges::count_if(text, [](char c) { return (uint8_t(c) & 0xc0) != 0x80; }));
}

std::string padded(const std::string& text, size_t width) {
  const size_t used = columns(text);
  return used < width ? text + std::string(width - used, ' ') : text;
}

/// For readers: names pass through printable().
class Table : public PredictionFormat {
 public:
  Table(std::vector<std::string> class_names, const std::vector<std::string>& images)
      : PredictionFormat(std::move(class_names)) {
    for (const std::string& image : images) width_ = std::max(width_, columns(printable(image)));
    width_ = std::min(width_, kWidest);
  }
  std::string header() const override { return padded("image", width_) + "  probability  class\n"; }
  std::string rows(const Prediction& prediction) const override {
    std::string text, image = printable(prediction.image);
    for (const PredictedClass& one : prediction.classes) {
      text += fmt::format("{}  {:10.2f}%  {}\n", padded(image, width_), 100 * one.probability,
                          printable(name_of(one)));
      image.clear();
    }
    return text;
  }

 private:
  static constexpr size_t kWidest = 80;  // longer names push their own row aside
  size_t width_ = columns("image");
};

/// Valid JSON for any bytes. What is not UTF-8 is replaced, and the image's bytes follow as hexadecimal digits.
class JsonLines : public PredictionFormat {
 public:
  using PredictionFormat::PredictionFormat;
  std::string rows(const Prediction& prediction) const override {
    nlohmann::ordered_json line;
    line["image"] = prediction.image;
    if (!is_utf8(prediction.image)) line["image_hex"] = hex(prediction.image);
    bool plain = is_printable(prediction.image);
    line["predictions"] = nlohmann::ordered_json::array();
    for (const PredictedClass& one : prediction.classes) {
      plain = plain && is_printable(name_of(one));
      line["predictions"].push_back(
          {{"class", name_of(one)}, {"index", one.index}, {"probability", one.probability}});
    }
    // Characters that steer terminals are escaped, and then all outside ASCII.
    return line.dump(-1, ' ', !plain, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }

 private:
  static std::string hex(const std::string& bytes) {
    std::string digits;
    for (const char byte : bytes) digits += fmt::format("{:02x}", uint8_t(byte));
    return digits;
  }
};

/// RFC 4180, with names as they are. On a terminal, which obeys control characters, names pass through printable().
class Csv : public PredictionFormat {
 public:
  Csv(std::vector<std::string> class_names, bool on_terminal)
      : PredictionFormat(std::move(class_names)), on_terminal_(on_terminal) {}
  std::string header() const override { return "image,rank,class,index,probability\n"; }
  std::string rows(const Prediction& prediction) const override {
    std::string text;
    int rank = 0;
    for (const PredictedClass& one : prediction.classes)
      text += fmt::format("{},{},{},{},{}\n", field(prediction.image), ++rank, field(name_of(one)), one.index,
                          one.probability);
    return text;
  }

 private:
  std::string field(const std::string& name) const {
    const std::string text = on_terminal_ ? printable(name) : name;
    if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
    std::string quoted = "\"";
    for (const char c : text) {
      if (c == '"') quoted += '"';
      quoted += c;
    }
    return quoted + '"';
  }

  bool on_terminal_;
};

}  // namespace

std::unique_ptr<PredictionFormat> make_format(const PredictOptions& options,
                                              std::vector<std::string> class_names,
                                              const std::vector<std::string>& images) {
  if (options.format == OutputFormat::kJsonLines) return std::make_unique<JsonLines>(std::move(class_names));
  if (options.format == OutputFormat::kTable) return std::make_unique<Table>(std::move(class_names), images);
  const bool on_terminal = options.out.empty() && ::isatty(STDOUT_FILENO) != 0;
  return std::make_unique<Csv>(std::move(class_names), on_terminal);
}

PredictionOutput::PredictionOutput(const std::string& path) {
  if (!path.empty()) file_ = std::make_unique<AtomicFile>(path);
}

void PredictionOutput::write(const std::string& text) {
  if (file_) {
    file_->write(text);
    return;
  }
  std::fwrite(text.data(), 1, text.size(), stdout);  // a failed write is told at exit: see start_program()
  std::fflush(stdout);
}

void PredictionOutput::commit() {
  if (file_) file_->commit();
}

}  // namespace taper
