#include "taper/nn/optim/sgd.h"  // spine 66 (docs/0-the-spine.md)

namespace taper {
namespace {

void check(const SgdOptions& options) {
  TAPER_CHECK(options.lr >= 0 && options.momentum >= 0 && options.weight_decay >= 0,
              "SGD: lr ({}), momentum ({}) and weight_decay ({}) must not be negative", options.lr,
              options.momentum, options.weight_decay);
  TAPER_CHECK(!options.nesterov || (options.momentum > 0 && options.dampening == 0),
              "SGD: nesterov needs momentum (got {}) and no dampening (got {})", options.momentum,
              options.dampening);
}

}  // namespace

SGD::SGD(const std::vector<Group>& groups) : Optimizer("SGD", parameters_of(groups)) {
  for (size_t g = 0; g < groups.size(); ++g) {
    check(groups[g].options);
    options_.push_back(groups[g].options);
    groups_[g].initial_lr = groups[g].options.lr;
  }
}

void SGD::update(size_t group, const std::vector<Slot*>& slots, const UpdateControls& controls,
                 const std::vector<Tensor>& copies) {
  const SgdOptions& options = options_[group];
  const UpdateLists lists = lists_of(slots, options.momentum != 0);
  ops::sgd_update(lists.parameters, lists.grads, lists.memory[0], options, false, controls, copies);
}

Optimizer::NamedOptions SGD::named_options(size_t group) {
  auto& [lr, momentum, dampening, weight_decay, nesterov] =
      options_[group];  // does not compile if one is left out
  return {{"lr", &lr},
          {"momentum", &momentum},
          {"dampening", &dampening},
          {"weight_decay", &weight_decay},
          {"nesterov", &nesterov}};
}

}  // namespace taper
