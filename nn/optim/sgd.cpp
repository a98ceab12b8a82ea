#include "taper/nn/optim/sgd.h"  // spine 66 (docs/0-the-spine.md)

#include "taper/ops/copy/create.h"

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

void SGD::update(size_t group, const std::vector<Slot*>& slots, const UpdateControls& controls) {
  const SgdOptions& options = options_[group];
  std::vector<Tensor> parameters, grads, buffers;
  for (Slot* slot : slots) {
    parameters.push_back(slot->parameter);
    grads.push_back(slot->parameter.grad());
    if (options.momentum == 0) continue;
    if (slot->memory.empty()) slot->memory = {ops::zeros_like(slot->parameter)};
    buffers.push_back(slot->memory[0]);
  }
  ops::sgd_update(parameters, grads, buffers, options, false, controls);
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
