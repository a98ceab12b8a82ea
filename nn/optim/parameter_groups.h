#pragma once
// Sorts a model's parameters into groups that learn at different rates: norms without weight decay, a new
// head that learns faster, lower layers that learn more slowly. PyTorch's users write this by hand; timm's
// counterpart: param_groups_weight_decay and param_groups_layer_decay in timm/optim/_param_groups.py.
//
//   const auto groups = group_parameters(model.named_parameters(), {.lr = 0.01, .layer_of = resnet_layer_of,
//                                                                   .layer_decay = 0.8});
//   SGD optimizer(with_options(groups, SgdOptions{.momentum = 0.9}));

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "taper/nn/optim/optimizer.h"

namespace taper {

struct ParameterGroupsOptions {
  double lr = 1e-3;         ///< of parameters that no option below changes
  double weight_decay = 0;  ///< of parameters that no option below changes
  bool decay_norms = true;  ///< false: parameters of one dimension or none, norms and biases, do not decay
  /// Returns the layer that a parameter, given by name, is part of. The layers of a model stand in the order
  /// in which its parameters name them, the head last. Needed for the options below.
  std::function<std::string(const std::string&)> layer_of = {};
  std::optional<double> head_lr = {};  ///< the head's learning rate
  /// A layer's learning rate is lr * layer_decay^(number of layers above it): Bao et al. 2022 (BEiT),
  /// https://arxiv.org/abs/2106.08254, and Clark et al. 2020, https://arxiv.org/abs/2003.10555.
  double layer_decay = 1;
};

/// Parameters that learn alike.
struct GroupedParameters {
  NamedTensors parameters;
  double lr = 0, weight_decay = 0;
};

/// Returns the parameters that require gradients, in groups of one learning rate and weight decay each.
/// Groups whose learning rate is options.lr come first; else they stand as their first parameters do. Frozen
/// parameters count as layers, and are in no group. Throws Error for head_lr or layer_decay without layer_of,
/// for negative numbers, and if no parameter requires a gradient.
std::vector<GroupedParameters> group_parameters(const NamedTensors& parameters,
                                                const ParameterGroupsOptions& options);

/// Returns the groups for an optimiser: `options` with each group's lr and weight_decay.
template <class Options>
std::vector<ParameterGroup<Options>> with_options(const std::vector<GroupedParameters>& groups,
                                                  Options options) {
  std::vector<ParameterGroup<Options>> result;
  for (const GroupedParameters& group : groups) {
    options.lr = group.lr;
    options.weight_decay = group.weight_decay;
    result.push_back({group.parameters, options});
  }
  return result;
}

}  // namespace taper
