#include "taper/nn/optim/adamw.h"

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

}  // namespace

AdamW::AdamW(const std::vector<Group>& groups) : Optimizer("AdamW", parameters_of(groups)) {
  for (size_t g = 0; g < groups.size(); ++g) {
    check(groups[g].options);
    options_.push_back(groups[g].options);
    groups_[g].initial_lr = groups[g].options.lr;
  }
}

void AdamW::update(size_t group, const std::vector<Slot*>& slots, const UpdateControls& controls) {
  std::vector<Tensor> parameters, grads, exp_avgs, exp_avg_sqs;
  for (Slot* slot : slots) {
    if (slot->memory.empty()) {
      slot->memory = {ops::zeros_like(slot->parameter), ops::zeros_like(slot->parameter)};
    }
    parameters.push_back(slot->parameter);
    grads.push_back(slot->parameter.grad());
    exp_avgs.push_back(slot->memory[0]);
    exp_avg_sqs.push_back(slot->memory[1]);
  }
  ops::adamw_update(parameters, grads, exp_avgs, exp_avg_sqs, options_[group], 1, controls);
}

Optimizer::NamedOptions AdamW::named_options(size_t group) {
  auto& [lr, beta1, beta2, eps, weight_decay] = options_[group];  // does not compile if one is left out
  return {{"lr", &lr}, {"beta1", &beta1}, {"beta2", &beta2}, {"eps", &eps}, {"weight_decay", &weight_decay}};
}

}  // namespace taper
