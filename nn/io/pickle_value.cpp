#include "taper/nn/io/pickle_value.h"

#include <fmt/format.h>

#include "taper/core/base/printable.h"
#include "taper/ops/copy/copy.h"

namespace taper {

// Here rather than in the header: there an entry of a dict is not complete yet.
PickleValue::PickleValue() = default;
PickleValue::PickleValue(Content content) : content_(std::move(content)) {}
PickleValue::PickleValue(bool value) : content_(value) {}
PickleValue::PickleValue(const char* text) : content_(std::string(text)) {}
PickleValue::PickleValue(std::string text) : content_(std::move(text)) {}
PickleValue::PickleValue(Tensor tensor) : content_(std::move(tensor)) {}
PickleValue::PickleValue(ForeignTensor tensor) : content_(std::move(tensor)) {}
PickleValue::PickleValue(List items) : content_(std::move(items)) {}
PickleValue::PickleValue(Tuple items) : content_(std::move(items)) {}
PickleValue::PickleValue(Dict entries) : content_(std::move(entries)) {}
PickleValue::PickleValue(const PickleValue&) = default;
PickleValue::PickleValue(PickleValue&&) noexcept = default;
PickleValue& PickleValue::operator=(const PickleValue&) = default;
PickleValue& PickleValue::operator=(PickleValue&&) noexcept = default;
PickleValue::~PickleValue() = default;

const PickleValue* PickleValue::find(std::string_view key) const {
  const Dict* dict = std::get_if<Dict>(&content_);
  if (dict == nullptr) return nullptr;
  for (const PickleEntry& entry : *dict) {
    const auto* text = std::get_if<std::string>(&entry.key.content_);
    if (text != nullptr && *text == key) return &entry.value;
  }
  return nullptr;
}

const PickleValue::List& PickleValue::items() const {
  if (const Tuple* tuple = std::get_if<Tuple>(&content_)) return tuple->items;
  return get<List>();
}

double PickleValue::number() const {
  if (const auto* value = std::get_if<bool>(&content_)) return *value ? 1 : 0;
  if (const auto* value = std::get_if<int64_t>(&content_)) return double(*value);
  if (const auto* value = std::get_if<Tensor>(&content_); value != nullptr && value->defined()) {
    TAPER_CHECK(value->numel() == 1, "the saved value is {}, not one number", describe());
    return ops::item(*value);
  }
  return get<double>();
}

std::string PickleValue::describe() const {
  struct Describe {
    std::string operator()(std::monostate) const { return "None"; }
    std::string operator()(bool value) const { return value ? "True" : "False"; }
    std::string operator()(int64_t value) const { return fmt::format("the number {}", value); }
    std::string operator()(double value) const { return fmt::format("the number {}", value); }
    std::string operator()(const std::string& text) const {
      return fmt::format("the text {}", quote_name(text));
    }
    std::string operator()(const Tensor& tensor) const {
      if (!tensor.defined()) return "an undefined tensor";
      return fmt::format("a tensor {} {}", tensor.dtype(), tensor.shape());
    }
    std::string operator()(const ForeignTensor& tensor) const {
      return fmt::format("a tensor {} [{}]", tensor.dtype, fmt::join(tensor.shape, ", "));
    }
    std::string operator()(const List& items) const { return fmt::format("a list of {}", items.size()); }
    std::string operator()(const Tuple& tuple) const {
      return fmt::format("a tuple of {}", tuple.items.size());
    }
    std::string operator()(const Dict& entries) const { return fmt::format("a dict of {}", entries.size()); }
  };
  return std::visit(Describe(), content_);
}

}  // namespace taper
