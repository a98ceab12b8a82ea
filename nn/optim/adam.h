#pragma once
// Adam (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980). PyTorch's counterpart: torch/optim/adam.py.

#include "taper/nn/optim/optimizer.h"
#include "taper/ops/optimizer/optimizer.h"

namespace taper {

/// Keeps running averages of the gradient and its square, corrected for their start at zero. Moves the
/// parameter by -lr * average / (sqrt(average of squares) + eps). Weight decay joins the gradient, and so
/// passes through both averages; AdamW (adamw.h) applies it apart from them. (torch.optim.Adam)
class Adam final : public Optimizer {
 public:
  using Group = ParameterGroup<AdamOptions>;

  /// Throws Error for negative options and for a beta outside [0, 1).
  explicit Adam(const std::vector<Group>& groups);
  explicit Adam(const NamedTensors& parameters, const AdamOptions& options = {})
      : Adam(std::vector<Group>{{parameters, options}}) {}
  explicit Adam(const std::vector<Tensor>& parameters, const AdamOptions& options = {})
      : Adam(number_names(parameters), options) {}

  /// Returns a group's options, to read or to set.
  AdamOptions& options(size_t group = 0) { return options_.at(group); }
  double& lr(size_t group = 0) override { return options(group).lr; }
  double& momentum(size_t group = 0) override { return options(group).beta1; }

 private:
  std::vector<std::string> memory_names() const override { return {"exp_avg", "exp_avg_sq"}; }
  NamedOptions named_options(size_t group) override;
  std::string_view step_name() const override { return "Adam step"; }
  void update(size_t group, const std::vector<Slot*>& slots, const UpdateControls& controls,
              const std::vector<Tensor>& copies) override;

  std::vector<AdamOptions> options_;
};

}  // namespace taper
