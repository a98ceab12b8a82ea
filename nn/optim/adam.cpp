#include "taper/nn/optim/adam.h"

#include "taper/nn/optim/check_options.h"

namespace taper {

Adam::Adam(const std::vector<Group>& groups) : Optimizer("Adam", parameters_of(groups)) {
  for (size_t g = 0; g < groups.size(); ++g) {
    detail::check_adam_options("Adam", groups[g].options);
    options_.push_back(groups[g].options);
    groups_[g].initial_lr = groups[g].options.lr;
  }
}

void Adam::update(size_t group, const std::vector<Slot*>& slots, const UpdateControls& controls,
                  const std::vector<Tensor>& copies) {
  const UpdateLists lists = lists_of(slots);
  ops::adam_update(lists.parameters, lists.grads, lists.memory[0], lists.memory[1], options_[group], 1,
                   controls, copies);
}

Optimizer::NamedOptions Adam::named_options(size_t group) {
  auto& [lr, beta1, beta2, eps, weight_decay, decoupled] =
      options_[group];  // does not compile if one is left out
  return {{"lr", &lr},
          {"beta1", &beta1},
          {"beta2", &beta2},
          {"eps", &eps},
          {"weight_decay", &weight_decay},
          {"decoupled_weight_decay", &decoupled}};
}

}  // namespace taper
