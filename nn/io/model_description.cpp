#include "taper/nn/io/model_description.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"

namespace taper {
namespace {

constexpr int kLargestSide = 65536;

const std::string& entry(const Metadata& metadata, const std::string& name) {
  const auto found = metadata.find(name);
  TAPER_CHECK(found != metadata.end(), "the description of the model has no {}", name);
  return found->second;
}

int side(const Metadata& metadata, const std::string& name) {
  const std::string& text = entry(metadata, name);
  int value = 0;
  const auto [stopped, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  TAPER_CHECK(
      error == std::errc() && stopped == text.data() + text.size() && value >= 1 && value <= kLargestSide,
      "the description of the model has {} {}, which is no size in pixels", name, quote_name(text));
  return value;
}

}  // namespace

Metadata ModelDescription::to_metadata() const {
  // Names of folders may hold any bytes; JSON holds UTF-8.
  const std::string names =
      nlohmann::json(class_names).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return {{"arch", arch},
          {"image_size", std::to_string(image_size)},
          {"resize", std::to_string(resize)},
          {"class_names", names}};
}

std::optional<ModelDescription> model_description(const Metadata& metadata) {
  const auto has = [&](const char* name) { return metadata.contains(name); };
  // Other programs' files may have an "arch", too.
  if (!has("arch") || !(has("image_size") || has("resize") || has("class_names"))) return std::nullopt;
  ModelDescription result{.arch = metadata.at("arch"),
                          .image_size = side(metadata, "image_size"),
                          .resize = side(metadata, "resize")};
  const nlohmann::json names = nlohmann::json::parse(entry(metadata, "class_names"), nullptr, false);
  TAPER_CHECK(names.is_array(), "the description of the model has class_names that are no JSON array");
  for (const nlohmann::json& name : names) {
    TAPER_CHECK(name.is_string(), "the description of the model has class_names that are no texts");
    result.class_names.push_back(name);
  }
  return result;
}

}  // namespace taper
