#pragma once
// A schedule that watches the score: it lowers learning rates when evaluations stop getting better. PyTorch's
// counterpart: ReduceLROnPlateau in torch/optim/lr_scheduler.py.
//
//   ReduceLrOnPlateau schedule(optimizer, {.patience = 3});
//   for (...) {                        // epochs
//     for (...) { ...; optimizer.step(); schedule.step(); }
//     schedule.observe(evaluate(...).loss);
//   }

#include <optional>
#include <vector>

#include "taper/nn/optim/schedule.h"

namespace taper {

/// Named like the arguments of torch.optim.lr_scheduler.ReduceLROnPlateau.
struct ReduceLrOnPlateauOptions {
  bool maximize = false;    ///< the score should rise: mode "max"
  double factor = 0.1;      ///< multiplies the learning rates
  int64_t patience = 10;    ///< evaluations without a better score that are borne
  double threshold = 1e-4;  ///< how much better a score must be to count
  bool relative_threshold =
      true;              ///< a share of the best score, threshold_mode "rel"; false: a difference, "abs"
  int64_t cooldown = 0;  ///< evaluations after a reduction that do not count
  double min_lr = 0;     ///< of all groups
  double eps = 1e-8;     ///< a reduction by less is left out
};

/// After more than `patience` evaluations in a row without a better score, multiplies all learning rates by
/// `factor`. Steps do not change them. A NaN is no better score. (torch.optim.lr_scheduler.ReduceLROnPlateau)
///
/// In a SequentialLr, as with_warmup() makes it, only evaluations at its turn count.
class ReduceLrOnPlateau final : public LrScheduler {
 public:
  /// Throws Error unless 0 < factor < 1, and for negative options.
  explicit ReduceLrOnPlateau(Optimizer& optimizer, const ReduceLrOnPlateauOptions& options = {});
  /// Returns the learning rate as it is, whatever the step.
  double lr_at(size_t group, int64_t step) const override;
  void observe(double score) override;

 private:
  bool is_better(double score) const;
  void reduce();
  /// Adds "best" and whether there is one, "has_best"; "bad_epochs", "cooldown", and the groups' "lr0",
  /// "lr1", ...
  void save(SavedState& state, const std::string& prefix) const override;
  void restore(const SavedState& state, const std::string& prefix) override;

  ReduceLrOnPlateauOptions options_;
  std::vector<double> lrs_;
  std::optional<double> best_;  ///< of the scores
  int64_t bad_epochs_ = 0;      ///< evaluations in a row without a better score
  int64_t cooldown_ = 0;        ///< evaluations to come that do not count
};

}  // namespace taper
