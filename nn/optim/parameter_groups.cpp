#include "taper/nn/optim/parameter_groups.h"

#include <algorithm>
#include <cmath>

namespace taper {
namespace {

/// Returns the names of the layers, from the lowest to the head.
std::vector<std::string> layers_of(const NamedTensors& parameters, const ParameterGroupsOptions& options) {
  std::vector<std::string> layers;
  if (!options.layer_of) return layers;
  for (const auto& [name, parameter] : parameters) {
    const std::string layer = options.layer_of(name);
    if (std::ranges::find(layers, layer) == layers.end()) layers.push_back(layer);
  }
  return layers;
}

}  // namespace

std::vector<GroupedParameters> group_parameters(const NamedTensors& parameters,
                                                const ParameterGroupsOptions& options) {
  TAPER_CHECK(
      options.lr >= 0 && options.weight_decay >= 0 && options.layer_decay >= 0 &&
          options.head_lr.value_or(0) >= 0,
      "group_parameters: lr ({}), weight_decay ({}), head_lr ({}) and layer_decay ({}) must not be negative",
      options.lr, options.weight_decay, options.head_lr.value_or(0), options.layer_decay);
  TAPER_CHECK(options.layer_of || (!options.head_lr && options.layer_decay == 1),
              "group_parameters: head_lr and layer_decay need layer_of, which names a parameter's layer");
  const std::vector<std::string> layers = layers_of(parameters, options);
  std::vector<GroupedParameters> groups;
  for (const auto& [name, parameter] : parameters) {
    if (!parameter.requires_grad()) continue;
    double lr = options.lr;
    if (options.layer_of) {
      const auto above = layers.end() - std::ranges::find(layers, options.layer_of(name)) - 1;
      lr *= std::pow(options.layer_decay, double(above));
      if (above == 0) lr = options.head_lr.value_or(lr);
    }
    const bool decays = options.decay_norms || parameter.dim() > 1;
    const double weight_decay = decays ? options.weight_decay : 0;
    auto group = std::ranges::find_if(
        groups, [&](const GroupedParameters& g) { return g.lr == lr && g.weight_decay == weight_decay; });
    if (group == groups.end()) group = groups.insert(group, {{}, lr, weight_decay});
    group->parameters.emplace_back(name, parameter);
  }
  TAPER_CHECK(!groups.empty(), "group_parameters: none of the {} parameters requires a gradient",
              parameters.size());
  std::stable_partition(groups.begin(), groups.end(),
                        [&](const GroupedParameters& g) { return g.lr == options.lr; });
  return groups;
}

}  // namespace taper
