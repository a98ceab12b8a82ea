#pragma once
// LARS, SGD for large batches: You et al. 2017, https://arxiv.org/abs/1708.03888. PyTorch has no counterpart;
// timm has timm/optim/lars.py, Apex has apex/parallel/LARC.py.

#include "taper/nn/optim/optimizer.h"
#include "taper/ops/optimizer/layerwise.h"

namespace taper {

/// SGD whose gradient, with its weight decay, is scaled for each parameter to a length of about trust_coeff
/// times the parameter's norm. See lars_update() in layerwise.h for the formula, and LarsOptions for
/// parameters that are left out.
class Lars final : public Optimizer {
 public:
  using Group = ParameterGroup<LarsOptions>;

  /// Throws Error for negative options, and for nesterov without momentum or with dampening.
  explicit Lars(const std::vector<Group>& groups);
  explicit Lars(const NamedTensors& parameters, const LarsOptions& options = {})
      : Lars(std::vector<Group>{{parameters, options}}) {}
  explicit Lars(const std::vector<Tensor>& parameters, const LarsOptions& options = {})
      : Lars(number_names(parameters), options) {}

  /// Returns a group's options, to read or to set.
  LarsOptions& options(size_t group = 0) { return options_.at(group); }
  double& lr(size_t group = 0) override { return options(group).lr; }
  double& momentum(size_t group = 0) override { return options(group).momentum; }

 private:
  std::vector<std::string> memory_names() const override { return {"momentum_buffer"}; }
  bool is_elementwise() const override { return false; }
  NamedOptions named_options(size_t group) override;
  std::string_view step_name() const override { return "Lars step"; }
  void update(size_t group, const std::vector<Slot*>& slots, const UpdateControls& controls,
              const std::vector<Tensor>& copies) override;

  std::vector<LarsOptions> options_;
};

}  // namespace taper
