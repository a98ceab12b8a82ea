#pragma once
// LAMB, Adam for large batches: You et al. 2020, https://arxiv.org/abs/1904.00962. PyTorch has no
// counterpart; Apex has apex/optimizers/fused_lamb.py, timm has timm/optim/lamb.py.

#include "taper/nn/optim/optimizer.h"
#include "taper/ops/optimizer/layerwise.h"

namespace taper {

/// Takes AdamW's direction and gives each parameter a step of length lr times the parameter's norm. Weight
/// decay is a part of the direction. See lamb_update() in layerwise.h for the formula, and LambOptions for
/// parameters that are left out.
class Lamb final : public Optimizer {
 public:
  using Group = ParameterGroup<LambOptions>;

  /// Throws Error for negative options and for a beta outside [0, 1).
  explicit Lamb(const std::vector<Group>& groups);
  explicit Lamb(const NamedTensors& parameters, const LambOptions& options = {})
      : Lamb(std::vector<Group>{{parameters, options}}) {}
  explicit Lamb(const std::vector<Tensor>& parameters, const LambOptions& options = {})
      : Lamb(number_names(parameters), options) {}

  /// Returns a group's options, to read or to set.
  LambOptions& options(size_t group = 0) { return options_.at(group); }
  double& lr(size_t group = 0) override { return options(group).lr; }
  double& momentum(size_t group = 0) override { return options(group).beta1; }

 private:
  std::vector<std::string> memory_names() const override { return {"exp_avg", "exp_avg_sq"}; }
  bool is_elementwise() const override { return false; }
  NamedOptions named_options(size_t group) override;
  std::string_view step_name() const override { return "Lamb step"; }
  void update(size_t group, const std::vector<Slot*>& slots, const UpdateControls& controls,
              const std::vector<Tensor>& copies) override;

  std::vector<LambOptions> options_;
};

}  // namespace taper
