#include "taper/nn/io/state_dict.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"

namespace taper {
namespace {

[[noreturn]] void fail_unreadable(const std::string& name, const std::string& dtype) {
  fail("tensor {} has dtype {}, which Taper lacks; save it in another, as with .to(torch.float32)",
       quote_name(name), dtype);
}

const std::string* name_of(const PickleEntry& entry) {
  return std::get_if<std::string>(&entry.key.content());
}

/// Returns a key for a message or a list.
std::string label_of(const PickleValue& key) {
  const auto* text = std::get_if<std::string>(&key.content());
  return text != nullptr ? *text : fmt::format("{}", key.get<int64_t>());
}

bool is_tensor(const PickleValue& value) {
  return value.is<Tensor>() || value.is<ForeignTensor>();
}

bool holds_tensors(const PickleValue::Dict& dict) {
  return std::ranges::any_of(
      dict, [](const PickleEntry& entry) { return name_of(entry) != nullptr && is_tensor(entry.value); });
}

/// Returns the dict of tensors in `saved`; null if there is none. Appends the names of the entries beside it.
const PickleValue::Dict* find_tensors(const PickleValue& saved, std::vector<std::string>& beside) {
  const auto* dict = std::get_if<PickleValue::Dict>(&saved.content());
  if (dict == nullptr) return nullptr;
  for (const char* key : {"state_dict", "model_state_dict", "model"}) {
    const PickleValue* inner = saved.find(key);
    if (inner == nullptr) continue;
    const PickleValue::Dict* found = find_tensors(*inner, beside);
    if (found == nullptr) continue;
    for (const PickleEntry& entry : *dict)
      if (&entry.value != inner) beside.push_back(label_of(entry.key));
    return found;
  }
  return holds_tensors(*dict) || dict->empty() ? dict : nullptr;
}

[[noreturn]] void fail_without_tensors(const PickleValue& saved) {
  const auto* dict = std::get_if<PickleValue::Dict>(&saved.content());
  if (dict == nullptr) fail("no state dict was saved, but {}", saved.describe());
  constexpr size_t kShown = 8;
  std::vector<std::string> keys;
  for (const PickleEntry& entry : *dict) {
    if (keys.size() == kShown) break;
    keys.push_back(quote_name(label_of(entry.key)));
  }
  fail(
      "no state dict was saved: a dict of {}{}, and no tensors in it, nor under 'state_dict', "
      "'model_state_dict' or 'model'",
      fmt::join(keys, ", "), dict->size() > kShown ? ", ..." : "");
}

/// Returns what is to be taken off the names of the tensors.
std::string prefix_of(const PickleValue::Dict& dict, const StateDictOptions& options) {
  if (!options.strip_prefix.empty()) return options.strip_prefix;
  constexpr const char* kDataParallel = "module.";
  const bool all = std::ranges::all_of(dict, [&](const PickleEntry& entry) {
    const std::string* name = name_of(entry);
    return name == nullptr || !is_tensor(entry.value) || name->starts_with(kDataParallel);
  });
  return all ? kDataParallel : "";
}

}  // namespace

const Tensor& StateDict::at(const std::string& name) const {
  if (const auto found = unreadable.find(name); found != unreadable.end()) {
    fail_unreadable(name, found->second.dtype);
  }
  const auto found = tensors.find(name);
  TAPER_CHECK(found != tensors.end(), "the file has no tensor {}", quote_name(name));
  return found->second;
}

const TensorMap& StateDict::tensors_for(const TensorMap& needed) const {
  for (const auto& [name, tensor] : unreadable) {
    if (needed.contains(name)) fail_unreadable(name, tensor.dtype);
  }
  return tensors;
}

StateDict state_dict_of(const PickleValue& saved, const StateDictOptions& options) {
  StateDict result;
  const PickleValue::Dict* dict = find_tensors(saved, result.left_out);
  if (dict == nullptr) fail_without_tensors(saved);
  const std::string prefix = prefix_of(*dict, options);
  for (const PickleEntry& entry : *dict) {
    if (name_of(entry) == nullptr || !is_tensor(entry.value)) {
      result.left_out.push_back(label_of(entry.key));
      continue;
    }
    std::string name = *name_of(entry);
    if (name.starts_with(prefix)) name.erase(0, prefix.size());
    const auto* tensor = std::get_if<Tensor>(&entry.value.content());
    const bool fresh =
        !result.tensors.contains(name) && !result.unreadable.contains(name) &&
        (tensor != nullptr ? result.tensors.emplace(name, *tensor).second
                           : result.unreadable.emplace(name, entry.value.get<ForeignTensor>()).second);
    TAPER_CHECK(fresh, "without '{}' two tensors are called {}", prefix, quote_name(name));
  }
  return result;
}

}  // namespace taper
