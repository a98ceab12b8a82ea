#include "taper/nn/io/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"

namespace taper::detail {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kMetadataKey = "__metadata__";

struct DTypeName {
  DType dtype;
  std::string_view name;
};
constexpr std::array<DTypeName, 8> kDTypeNames = {{{kFloat32, "F32"},
                                                   {kFloat64, "F64"},
                                                   {kFloat16, "F16"},
                                                   {kBFloat16, "BF16"},
                                                   {kInt64, "I64"},
                                                   {kInt32, "I32"},
                                                   {kUInt8, "U8"},
                                                   {kBool, "BOOL"}}};

/// Whether `text` may be a dtype of a later version of the format: "F8_E4M3".
bool is_dtype_name(std::string_view text) {
  constexpr size_t kLongest = 16;
  return !text.empty() && text.size() <= kLongest && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

/// Returns the bytes of the shape's elements; nothing if they, or the strides from the sizes, exceed 2^62.
std::optional<uint64_t> size_in_bytes(const Shape& shape, DType dtype) {
  constexpr int64_t kLimit = int64_t(1) << 62;
  int64_t bytes = int64_t(size_of(dtype));
  bool empty = false;
  for (const int64_t size : shape) {
    empty |= size == 0;
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes) || bytes > kLimit)
      return std::nullopt;
  }
  return empty ? 0 : uint64_t(bytes);
}

/// Receives the parser's events and accepts only the structure of a header. It keeps no other text, so a
/// header costs memory in proportion to its names and nests at most three deep.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(SafetensorsHeader& header, const std::string& path) : header_(header), path_(path) {}

  bool start_object(std::size_t) override {
    if (at_ == At::kStart) {
      at_ = At::kTop;
    } else if (at_ == At::kTop && name_ == kMetadataKey) {
      at_ = At::kMetadata;
    } else if (at_ == At::kTop) {
      at_ = At::kEntry;
      entry_ = {};
      has_dtype_ = has_shape_ = has_offsets_ = false;
    } else {
      refuse_value("an object");
    }
    return true;
  }

  bool end_object() override {
    if (at_ == At::kEntry) {
      if (!has_dtype_ || !has_shape_ || !has_offsets_) {
        refuse("tensor {} has no {}", quote_name(name_),
               !has_dtype_ ? "dtype" : (!has_shape_ ? "shape" : "data_offsets"));
      }
      header_.entries[name_] = entry_;
    }
    at_ = at_ == At::kTop ? At::kStart : At::kTop;
    return true;
  }

  bool key(std::string& key) override {
    if (at_ != At::kEntry && ++names_ > kMaxSafetensorsNames) {
      refuse("the header has more than {} names", kMaxSafetensorsNames);
    }
    if (at_ == At::kTop) {
      const bool again = key == kMetadataKey ? has_metadata_ : header_.entries.contains(key);
      if (again) refuse("the header has the name {} twice", quote_name(key));
      if (key == kMetadataKey) has_metadata_ = true;
      name_ = key;
    } else if (at_ == At::kMetadata) {
      if (header_.metadata.contains(key)) refuse("the metadata has the name {} twice", quote_name(key));
      field_ = key;
    } else {
      if (key != "dtype" && key != "shape" && key != "data_offsets") {
        refuse("tensor {} has an unknown field {}", quote_name(name_), quote_name(key));
      }
      const bool again = key == "dtype" ? has_dtype_ : (key == "shape" ? has_shape_ : has_offsets_);
      if (again) refuse("tensor {} has its {} twice", quote_name(name_), key);
      field_ = key;
    }
    return true;
  }

  bool string(std::string& text) override {
    if (at_ == At::kMetadata) {
      header_.metadata[field_] = text;
    } else if (at_ == At::kEntry && field_ == "dtype") {
      const auto found = std::find_if(kDTypeNames.begin(), kDTypeNames.end(),
                                      [&](const DTypeName& known) { return known.name == text; });
      if (found != kDTypeNames.end()) {
        entry_.dtype = found->dtype;
      } else if (is_dtype_name(text)) {
        entry_.foreign_dtype = text;
      } else {
        refuse("tensor {} has dtype {}; known are F64 F32 F16 BF16 I64 I32 U8 BOOL", quote_name(name_),
               quote_name(text));
      }
      has_dtype_ = true;
    } else {
      refuse_value("text");
    }
    return true;
  }

  bool start_array(std::size_t) override {
    if (at_ != At::kEntry || field_ == "dtype") refuse_value("a list");
    at_ = At::kArray;
    offset_count_ = 0;
    return true;
  }

  bool end_array() override {
    at_ = At::kEntry;
    if (field_ == "shape") {
      has_shape_ = true;
    } else {
      if (offset_count_ != 2) refuse("tensor {}: data_offsets must be two numbers", quote_name(name_));
      has_offsets_ = true;
    }
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (at_ != At::kArray) refuse_value("a number");
    if (field_ == "shape") {
      if (value > uint64_t(INT64_MAX)) refuse("tensor {} has the size {}", quote_name(name_), value);
      if (entry_.shape.size() == kMaxDims) {
        refuse("tensor {} has more than {} dimensions", quote_name(name_), kMaxDims);
      }
      entry_.shape.push_back(int64_t(value));
    } else {
      if (offset_count_ == 2) refuse("tensor {}: data_offsets must be two numbers", quote_name(name_));
      (offset_count_++ == 0 ? entry_.begin : entry_.end) = value;
    }
    return true;
  }

  bool null() override { refuse_value("null"); }
  bool boolean(bool) override { refuse_value("true or false"); }
  bool number_integer(number_integer_t) override { refuse_value("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { refuse_value("a fraction"); }
  bool binary(binary_t&) override { refuse_value("binary data"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    refuse("the header is not valid JSON at its byte {}", position);
  }

 private:
  /// The innermost open element.
  enum class At { kStart, kTop, kMetadata, kEntry, kArray };

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
    throw FileError(path_ + ": " + fmt::format(format, std::forward<Args>(args)...));
  }
  [[noreturn]] void refuse_value(std::string_view found) {
    switch (at_) {
      case At::kStart:
        refuse("the header is {}, not an object", found);
      case At::kTop:
        refuse("the header has {} under {} where an object belongs", found, quote_name(name_));
      case At::kMetadata:
        refuse("the metadata has {} under {} where text belongs", found, quote_name(field_));
      case At::kEntry:
      case At::kArray:
        refuse("tensor {} has {} in its {}", quote_name(name_), found, field_);
    }
    refuse("the header has {} in the wrong place", found);
  }

  SafetensorsHeader& header_;
  const std::string& path_;
  At at_ = At::kStart;
  bool has_metadata_ = false;
  int names_ = 0;
  std::string name_;   ///< the key at the top level
  std::string field_;  ///< the key inside an entry
  SafetensorsEntry entry_;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  int offset_count_ = 0;
};

/// Checks that each entry's bytes hold its shape, and that the entries cover 0 to `data_bytes` without gaps.
void check_layout(const SafetensorsHeader& header, uint64_t data_bytes, const std::string& path) {
  using NamedEntry = std::pair<const std::string, SafetensorsEntry>;
  std::vector<const NamedEntry*> by_place;
  by_place.reserve(header.entries.size());
  for (const NamedEntry& named : header.entries) {
    const SafetensorsEntry& entry = named.second;
    if (entry.begin > entry.end || entry.end > data_bytes) {
      fail<FileError>("{}: tensor {} lies at bytes {} to {} of {}; the file is truncated or damaged", path,
                      quote_name(named.first), entry.begin, entry.end, data_bytes);
    }
    const std::optional<uint64_t> needed = size_in_bytes(entry.shape, entry.dtype);
    if (entry.foreign_dtype.empty() && needed != entry.end - entry.begin) {
      fail<FileError>("{}: tensor {} has {} bytes, but {} {} does not fill them exactly", path,
                      quote_name(named.first), entry.end - entry.begin, entry.dtype, entry.shape);
    }
    by_place.push_back(&named);
  }
  std::sort(by_place.begin(), by_place.end(), [](const NamedEntry* a, const NamedEntry* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t filled = 0;
  for (const NamedEntry* named : by_place) {
    if (named->second.begin != filled) {
      fail<FileError>(
          "{}: tensor {} begins at byte {} where {} was expected: tensors overlap or leave a hole", path,
          quote_name(named->first), named->second.begin, filled);
    }
    filled = named->second.end;
  }
  if (filled != data_bytes) {
    fail<FileError>("{}: the tensors fill {} of {} bytes of data", path, filled, data_bytes);
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes,
                                           const std::string& path) {
  SafetensorsHeader header;
  HeaderReader reader(header, path);
  Json::sax_parse(text.begin(), text.end(), &reader);
  check_layout(header, data_bytes, path);
  return header;
}

std::string format_safetensors_header(const SafetensorsHeader& header) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!header.metadata.empty()) json[std::string(kMetadataKey)] = header.metadata;
  std::vector<const std::pair<const std::string, SafetensorsEntry>*> by_place;
  for (const auto& named : header.entries) by_place.push_back(&named);
  std::stable_sort(by_place.begin(), by_place.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  for (const auto* named : by_place) {
    const auto& [name, entry] = *named;
    TAPER_CHECK(name != kMetadataKey, "save_safetensors: a tensor cannot be called {}", kMetadataKey);
    json[name] = {{"dtype", kDTypeNames[size_t(entry.dtype)].name},
                  {"shape", std::vector<int64_t>(entry.shape.begin(), entry.shape.end())},
                  {"data_offsets", {entry.begin, entry.end}}};
  }
  std::string text;
  try {
    text = json.dump();
  } catch (const nlohmann::json::exception&) {
    fail("save_safetensors: a name or a metadata text is not valid UTF-8");
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace taper::detail
