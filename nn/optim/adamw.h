#pragma once
// Adam with decoupled weight decay (Loshchilov & Hutter 2019). PyTorch's counterpart: torch/optim/adamw.py.

#include "taper/nn/optim/optimizer.h"
#include "taper/ops/optimizer/optimizer.h"

namespace taper {

/// Keeps running averages of the gradient and its square, corrected for their start at zero. Moves the
/// parameter by -lr * average / (sqrt(average of squares) + eps), and shrinks it by lr * weight_decay.
/// (torch.optim.AdamW)
class AdamW final : public Optimizer {
 public:
  using Group = ParameterGroup<AdamWOptions>;

  /// Throws Error for negative options and for a beta outside [0, 1).
  explicit AdamW(const std::vector<Group>& groups);
  explicit AdamW(const NamedTensors& parameters, const AdamWOptions& options = {})
      : AdamW(std::vector<Group>{{parameters, options}}) {}
  explicit AdamW(const std::vector<Tensor>& parameters, const AdamWOptions& options = {})
      : AdamW(number_names(parameters), options) {}

  /// Returns a group's options, to read or to set.
  AdamWOptions& options(size_t group = 0) { return options_.at(group); }
  double& lr(size_t group = 0) override { return options(group).lr; }
  double& momentum(size_t group = 0) override { return options(group).beta1; }

 private:
  std::vector<std::string> memory_names() const override { return {"exp_avg", "exp_avg_sq"}; }
  NamedOptions named_options(size_t group) override;
  std::string_view step_name() const override { return "AdamW step"; }
  void update(size_t group, const std::vector<Slot*>& slots, const UpdateControls& controls,
              const std::vector<Tensor>& copies) override;

  std::vector<AdamWOptions> options_;
};

}  // namespace taper
