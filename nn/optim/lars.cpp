#include "taper/nn/optim/lars.h"

namespace taper {
namespace {

void check(const LarsOptions& options) {
  TAPER_CHECK(options.lr >= 0 && options.momentum >= 0 && options.weight_decay >= 0,
              "Lars: lr ({}), momentum ({}) and weight_decay ({}) must not be negative", options.lr,
              options.momentum, options.weight_decay);
  TAPER_CHECK(options.trust_coeff >= 0 && options.eps >= 0,
              "Lars: trust_coeff ({}) and eps ({}) must not be negative", options.trust_coeff, options.eps);
  TAPER_CHECK(!options.nesterov || (options.momentum > 0 && options.dampening == 0),
              "Lars: nesterov needs momentum (got {}) and no dampening (got {})", options.momentum,
              options.dampening);
}

}  // namespace

Lars::Lars(const std::vector<Group>& groups) : Optimizer("Lars", parameters_of(groups)) {
  for (size_t g = 0; g < groups.size(); ++g) {
    check(groups[g].options);
    options_.push_back(groups[g].options);
    groups_[g].initial_lr = groups[g].options.lr;
  }
}

void Lars::update(size_t group, const std::vector<Slot*>& slots, const UpdateControls& controls,
                  const std::vector<Tensor>& copies) {
  const LarsOptions& options = options_[group];
  const UpdateLists lists = lists_of(slots, options.momentum != 0);
  ops::lars_update(lists.parameters, lists.grads, lists.memory[0], options, false, controls, copies);
}

Optimizer::NamedOptions Lars::named_options(size_t group) {
  auto& [lr, momentum, dampening, weight_decay, nesterov, trust_coeff, eps, always_adapt] =
      options_[group];  // does not compile if one is left out
  return {{"lr", &lr},
          {"momentum", &momentum},
          {"dampening", &dampening},
          {"weight_decay", &weight_decay},
          {"nesterov", &nesterov},
          {"trust_coeff", &trust_coeff},
          {"eps", &eps},
          {"always_adapt", &always_adapt}};
}

}  // namespace taper
