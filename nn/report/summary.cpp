#include "taper/nn/report/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "taper/autograd/tape/grad_mode.h"
#include "taper/ops/copy/create.h"

namespace taper {
namespace {

/// Puts a tree of modules into evaluation mode. At scope end, restores each module's own training flag and
/// removes the recording hooks.
class Observation {
 public:
  explicit Observation(Module& module) : modules_(module.named_modules()) {
    for (const auto& [name, part] : modules_) was_training_.push_back(part->is_training());
    module.eval();
  }
  ~Observation() {
    for (HookHandle& handle : handles_) handle.remove();
    // Parents come before their parts, so each part has its own flag in the end.
    for (size_t i = 0; i < modules_.size(); ++i) modules_[i].second->train(was_training_[i]);
  }
  Observation(const Observation&) = delete;
  Observation& operator=(const Observation&) = delete;

  const NamedModules& modules() const { return modules_; }
  void keep(HookHandle handle) { handles_.push_back(std::move(handle)); }

 private:
  NamedModules modules_;
  std::vector<bool> was_training_;
  std::vector<HookHandle> handles_;
};

int64_t own_parameters(const Module& module) {
  int64_t count = 0;
  for (const auto& [name, parameter] : module.named_parameters(/*recurse=*/false)) count += parameter.numel();
  return count;
}

TensorOptions input_options(const Module& module) {
  const std::vector<Tensor> parameters = module.parameters();
  if (parameters.empty()) return {};
  return {.dtype = parameters[0].dtype(), .device = parameters[0].device()};
}

/// 1234567 -> "1,234,567".
std::string with_commas(int64_t value) {
  std::string text = std::to_string(value);
  for (int64_t at = int64_t(text.size()) - 3; at > 0; at -= 3) text.insert(size_t(at), ",");
  return text;
}

std::string scaled_flops(int64_t flops) {
  if (flops >= 1'000'000'000) return fmt::format("{:.2f} G", double(flops) / 1e9);
  if (flops >= 1'000'000) return fmt::format("{:.2f} M", double(flops) / 1e6);
  return with_commas(flops);
}

}  // namespace

ModuleSummary summary(Layer& layer, const Shape& input_shape) {
  ModuleSummary result = summary(layer, [&] { layer(ops::zeros(input_shape, input_options(layer))); });
  result.input_shape = input_shape;
  return result;
}

ModuleSummary summary(Module& module, const std::function<void()>& run) {
  const NoGradGuard no_grad;
  ModuleSummary result;
  Observation observation(module);
  std::unordered_map<const Module*, size_t> row_of;
  for (const auto& [name, part] : observation.modules()) {
    const int depth = name.empty() ? 0 : 1 + int(std::count(name.begin(), name.end(), '.'));
    auto* const layer = dynamic_cast<Layer*>(part);
    row_of[part] = result.rows.size();
    result.rows.push_back({.name = name,
                           .type = part->type_name(),
                           .depth = depth,
                           .is_layer = layer != nullptr,
                           .parameters = own_parameters(*part)});
    if (!layer) continue;
    observation.keep(
        layer->register_forward_hook([&](Layer& self, const Tensor& input, const Tensor& output) {
          ModuleSummary::Row& row = result.rows[row_of[&self]];
          row.called = true;
          row.output_shape = output.shape();
          row.flops += self.flops(input, output);
          return Tensor();
        }));
  }
  run();

  for (const Tensor& parameter : module.parameters()) {
    result.parameters += parameter.numel();
    if (parameter.requires_grad()) result.trainable_parameters += parameter.numel();
  }
  for (const ModuleSummary::Row& row : result.rows) result.flops += row.flops;
  return result;
}

std::string ModuleSummary::str() const {
  std::vector<std::string> names;
  size_t widest = 6;
  for (const Row& row : rows) {
    const std::string own_name = row.name.substr(row.name.rfind('.') + 1);  // npos + 1 is 0
    names.push_back(std::string(size_t(row.depth) * 2, ' ') +
                    (own_name.empty() ? row.type : fmt::format("{} ({})", own_name, row.type)));
    widest = std::max(widest, names.back().size());
  }
  const auto line = [&](const std::string& name, const std::string& shape, const std::string& parameters_text,
                        const std::string& flops_text) {
    return fmt::format("{:<{}}  {:<20}  {:>13}  {:>12}\n", name, widest, shape, parameters_text, flops_text);
  };
  std::string text = line("Module", "Output", "Parameters", "FLOPs");
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    const std::string shape = row.called ? row.output_shape.str() : row.is_layer ? "not called" : "-";
    text += line(names[i], shape, row.parameters > 0 ? with_commas(row.parameters) : "-",
                 row.flops > 0 ? scaled_flops(row.flops) : "-");
  }
  if (input_shape) text += fmt::format("Input {}; ", *input_shape);
  text += fmt::format("{} parameters, {} of them trainable; {} FLOPs (a multiply-add counts as two)\n",
                      with_commas(parameters), with_commas(trainable_parameters), scaled_flops(flops));
  return text;
}

}  // namespace taper
