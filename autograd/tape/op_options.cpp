#include "taper/autograd/tape/op_options.h"

namespace taper {

void OptionList::add_value(std::string_view name, OptionValue value) {
  values.push_back({.name = name, .value = std::move(value)});
}

void OptionList::add(std::string_view name, Scalar value) {
  if (value.is_bool()) return add(name, value.to<bool>());
  if (value.is_floating_point()) return add(name, value.to_double());
  add(name, value.to_int64());
}

void OptionList::add(std::string_view name, IntPair value) {
  if (value.h == value.w) return add(name, value.h);
  add_value(name, std::vector<int64_t>{value.h, value.w});
}

void OptionList::add(std::string_view name, const Dims& value) {
  add_value(name, std::vector<int64_t>(value.begin(), value.end()));
}

void OptionList::add(std::string_view name, MemoryFormat value) {
  add(name, value == kChannelsLast ? "channels_last" : "contiguous");
}

void OptionList::mark_usual(size_t first, int64_t value) {
  for (size_t i = first; i < values.size(); ++i) values[i].is_usual = values[i].value == OptionValue(value);
}

void OptionList::mark_usual(size_t first, const OptionList& usual) {
  for (size_t i = 0; i < usual.values.size(); ++i)
    values[first + i].is_usual = values[first + i].value == usual.values[i].value;
}

std::string to_text(const NamedOption& option) {
  if (option.is_usual || option.value == OptionValue(false)) return {};
  if (option.value == OptionValue(true)) return std::string(option.name);
  return std::visit(
      [&](const auto& value) {
        if constexpr (std::same_as<std::decay_t<decltype(value)>, std::vector<int64_t>>)
          return fmt::format("{} {}", option.name, Dims(value));
        else
          return fmt::format("{} {}", option.name, value);
      },
      option.value);
}

}  // namespace taper
