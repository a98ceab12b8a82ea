#include "taper/nn/optim/adamw.h"

#include <map>

#include "taper/core/op_scope.h"
#include "taper/ops/copy/create.h"

namespace taper {
namespace {

void check(const AdamWOptions& options) {
  TAPER_CHECK(options.lr >= 0 && options.eps >= 0 && options.weight_decay >= 0,
              "AdamW: lr ({}), eps ({}) and weight_decay ({}) must not be negative", options.lr, options.eps,
              options.weight_decay);
  for (const double beta : {options.beta1, options.beta2}) {
    TAPER_CHECK(beta >= 0 && beta < 1, "AdamW: beta1 and beta2 must be from 0 to below 1, got {}", beta);
  }
}

/// What one call of adamw_update takes.
struct Update {
  std::vector<Tensor> parameters, grads, exp_avgs, exp_avg_sqs;
};

}  // namespace

AdamW::AdamW(const std::vector<Group>& groups) : Optimizer("AdamW", parameters_of(groups)) {
  for (size_t g = 0; g < groups.size(); ++g) {
    check(groups[g].options);
    options_.push_back(groups[g].options);
    groups_[g].initial_lr = groups[g].options.lr;
  }
}

void AdamW::step() {
  const OpScope scope("AdamW step", SpanKind::kOptimizer);
  for (size_t g = 0; g < groups_.size(); ++g) {
    std::map<int64_t, Update> updates;  // by step: one entry unless parameters joined late
    for (Slot& slot : groups_[g].slots) {
      const Tensor grad = slot.parameter.grad();
      if (!grad.defined()) continue;
      if (slot.memory.empty())
        slot.memory = {ops::zeros_like(slot.parameter), ops::zeros_like(slot.parameter)};
      Update& update = updates[++slot.steps];
      update.parameters.push_back(slot.parameter);
      update.grads.push_back(grad);
      update.exp_avgs.push_back(slot.memory[0]);
      update.exp_avg_sqs.push_back(slot.memory[1]);
    }
    for (const auto& [step, update] : updates) {
      ops::adamw_update(update.parameters, update.grads, update.exp_avgs, update.exp_avg_sqs, options_[g],
                        step);
    }
  }
}

Optimizer::Numbers AdamW::numbers(size_t group) {
  AdamWOptions& options = options_[group];
  return {{"lr", &options.lr},
          {"beta1", &options.beta1},
          {"beta2", &options.beta2},
          {"eps", &options.eps},
          {"weight_decay", &options.weight_decay}};
}

}  // namespace taper
