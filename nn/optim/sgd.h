#pragma once
// Stochastic gradient descent with momentum. PyTorch's counterpart: torch/optim/sgd.py.

#include "taper/nn/optim/optimizer.h"
#include "taper/ops/optimizer/optimizer.h"

namespace taper {

/// g = grad + weight_decay * parameter. The buffer starts as g and then becomes momentum * buffer + (1 -
/// dampening) * g. The parameter moves by -lr * buffer, with nesterov by -lr * (g + momentum * buffer).
/// (torch.optim.SGD)
class SGD final : public Optimizer {
 public:
  using Group = ParameterGroup<SgdOptions>;

  /// Throws Error for negative options, and for nesterov without momentum or with dampening.
  explicit SGD(const std::vector<Group>& groups);
  explicit SGD(const NamedTensors& parameters, const SgdOptions& options = {})
      : SGD(std::vector<Group>{{parameters, options}}) {}
  explicit SGD(const std::vector<Tensor>& parameters, const SgdOptions& options = {})
      : SGD(number_names(parameters), options) {}

  /// Returns a group's options, to read or to set.
  SgdOptions& options(size_t group = 0) { return options_.at(group); }
  double& lr(size_t group = 0) override { return options(group).lr; }
  double& momentum(size_t group = 0) override { return options(group).momentum; }

 private:
  std::vector<std::string> memory_names() const override { return {"momentum_buffer"}; }
  NamedOptions named_options(size_t group) override;
  std::string_view step_name() const override { return "SGD step"; }
  void update(size_t group, const std::vector<Slot*>& slots, const UpdateControls& controls,
              const std::vector<Tensor>& copies) override;

  std::vector<SgdOptions> options_;
};

}  // namespace taper
