#include "taper/nn/models/freeze.h"

#include <fmt/format.h>

#include <algorithm>

#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"
#include "taper/nn/layers/batch_norm2d.h"

namespace taper {
namespace {

/// Returns whether `prefix` is all of `name`, or all before one of its dots.
bool begins_with(const std::string& name, const std::string& prefix) {
  return name.starts_with(prefix) && (name.size() == prefix.size() || name[prefix.size()] == '.');
}

/// Returns the names of the parts and parameters that the model itself has, where there is something to train.
std::vector<std::string> choices(const Module& model) {
  std::vector<std::string> names;
  for (const auto& [name, parameter] : model.named_parameters()) {
    std::string first = name.substr(0, name.find('.'));
    if (std::ranges::find(names, first) == names.end()) names.push_back(std::move(first));
  }
  return names;
}

}  // namespace

int64_t freeze(Module& model, const std::vector<std::string>& prefixes) {
  const NamedTensors all = model.named_parameters();
  for (const std::string& prefix : prefixes)
    TAPER_CHECK(
        std::ranges::any_of(all, [&](const auto& named) { return begins_with(named.first, prefix); }),
        "no parameter of {} is called {} or lies in a part of that name; choose from {}, and what is in "
        "them",
        model.type_name(), quote_name(prefix), fmt::join(choices(model), ", "));
  std::vector<Tensor> frozen;
  for (const auto& named : all)
    if (std::ranges::any_of(prefixes, [&](const auto& prefix) { return begins_with(named.first, prefix); }))
      frozen.push_back(named.second);
  TAPER_CHECK(frozen.size() < all.size(), "all parameters would be frozen; leave one of {} to train",
              fmt::join(choices(model), ", "));
  int64_t elements = 0;
  for (Tensor& parameter : frozen) {
    parameter.set_requires_grad(false);
    elements += parameter.numel();
  }
  return elements;
}

NamedTensors trainable_parameters(const Module& model) {
  NamedTensors parameters = model.named_parameters();
  std::erase_if(parameters, [](const auto& named) { return !named.second.requires_grad(); });
  return parameters;
}

int64_t freeze_batch_norms(Module& model, BatchNorms which) {
  int64_t count = 0;
  model.apply([&](Module& part) {
    auto* norm = dynamic_cast<BatchNorm2d*>(&part);
    if (norm == nullptr) return;
    if (which == BatchNorms::kFrozen && (norm->weight.requires_grad() || norm->bias.requires_grad())) return;
    norm->freeze_statistics();
    ++count;
  });
  return count;
}

}  // namespace taper
