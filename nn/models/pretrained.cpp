#include "taper/nn/models/pretrained.h"

#include <fmt/format.h>

#include <algorithm>

#include "taper/ops/copy/copy.h"

namespace taper {
namespace {

/// Returns whether two tensors of a head are alike but for the number of classes, their first size.
bool differ_in_classes(const Tensor& a, const Tensor& b) {
  return a.dim() == b.dim() && a.dim() > 0 && a.size(0) != b.size(0) &&
         std::equal(a.shape().begin() + 1, a.shape().end(), b.shape().begin() + 1);
}

}  // namespace

std::string PretrainedReport::str(const std::string& file) const {
  std::string text = fmt::format("{} of {} tensors from {}", taken, total, file);
  if (!fresh.empty())
    text += fmt::format("; {} {} new: {} classes there, {} here", fmt::join(fresh, ", "),
                        fresh.size() == 1 ? "is" : "are",
                        found_classes == 0 ? "no" : fmt::format("{}", found_classes), classes);
  if (uncounted > 0) text += fmt::format("; {} counters of batches are not in it", uncounted);
  return text;
}

PretrainedReport load_pretrained(Module& model, const StateDict& weights, const std::string& head) {
  const TensorMap own = model.state_dict();
  TensorMap fitting = weights.tensors_for(own);
  const std::string prefix = head + ".";
  const bool headless =
      std::ranges::none_of(fitting, [&](const auto& named) { return named.first.starts_with(prefix); });
  PretrainedReport report{.total = int64_t(own.size())};
  for (const auto& [name, parameter] : model.named_parameters()) {
    if (!name.starts_with(prefix)) continue;
    const auto found = fitting.find(name);
    if (found == fitting.end() ? !headless : !differ_in_classes(found->second, parameter)) continue;
    report.fresh.push_back(name);
    report.found_classes = headless ? 0 : found->second.size(0);
    report.classes = parameter.size(0);
    fitting[name] = ops::clone(parameter.detach());
  }
  model.load_state_dict(fitting);  // so all of `fitting` is the model's
  report.taken = int64_t(fitting.size() - report.fresh.size());
  report.uncounted = int64_t(own.size() - fitting.size());
  return report;
}

}  // namespace taper
