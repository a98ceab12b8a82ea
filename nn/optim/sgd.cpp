#include "taper/nn/optim/sgd.h"

#include "taper/core/op_scope.h"

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

/// What one call of sgd_update takes.
struct Update {
  std::vector<Tensor> parameters, grads, buffers;
};

}  // namespace

SGD::SGD(const std::vector<Group>& groups) : Optimizer("SGD", parameters_of(groups)) {
  for (size_t g = 0; g < groups.size(); ++g) {
    check(groups[g].options);
    options_.push_back(groups[g].options);
    groups_[g].initial_lr = groups[g].options.lr;
  }
}

void SGD::step() {
  const OpScope scope("SGD step", SpanKind::kOptimizer);
  for (size_t g = 0; g < groups_.size(); ++g) {
    const bool with_momentum = options_[g].momentum != 0;
    Update first, further;
    for (Slot& slot : groups_[g].slots) {
      const Tensor grad = slot.parameter.grad();
      if (!grad.defined()) continue;
      const bool is_first = with_momentum && slot.memory.empty();
      if (is_first) slot.memory = {empty_like(slot.parameter)};
      Update& update = is_first ? first : further;
      update.parameters.push_back(slot.parameter);
      update.grads.push_back(grad);
      if (with_momentum) update.buffers.push_back(slot.memory[0]);
      ++slot.steps;
    }
    ops::sgd_update(first.parameters, first.grads, first.buffers, options_[g], true);
    ops::sgd_update(further.parameters, further.grads, further.buffers, options_[g], false);
  }
}

Optimizer::Numbers SGD::numbers(size_t group) {
  SgdOptions& options = options_[group];
  return {{"lr", &options.lr},
          {"momentum", &options.momentum},
          {"dampening", &options.dampening},
          {"weight_decay", &options.weight_decay}};
}

}  // namespace taper
