#pragma once
// Learning rates over time. A schedule is a formula from the number of steps to each group's learning rate,
// so it can start anywhere. The caller decides what a step is (an update, an epoch). PyTorch's counterpart:
// torch/optim/lr_scheduler.py.
//
//   CosineAnnealingLr schedule(optimizer, total_steps);
//   for (...) { ...; optimizer.step(); schedule.step(); }

#include <memory>
#include <vector>

#include "taper/nn/optim/optimizer.h"

namespace taper {

class LrScheduler {
 public:
  virtual ~LrScheduler() = default;
  LrScheduler(const LrScheduler&) = delete;
  LrScheduler& operator=(const LrScheduler&) = delete;

  /// Advances by one step. Call it after the optimiser's step().
  void step() { set_step(steps_ + 1); }
  int64_t steps() const { return steps_; }
  /// Sets the optimiser to its state after `step` steps.
  virtual void set_step(int64_t step);
  /// Returns a group's learning rate after `step` steps.
  virtual double lr_at(size_t group, int64_t step) const = 0;

  /// Returns the number "step".
  SavedState state_dict() const { return {.tensors = {}, .numbers = {{"step", double(steps_)}}}; }
  /// Resumes at the saved step. Throws Error if the number is missing.
  void load_state_dict(const SavedState& state) { set_step(int64_t(state.number("step", "LrScheduler"))); }

 protected:
  /// `optimizer` must outlive the schedule. Constructors end with set_step(0).
  explicit LrScheduler(Optimizer& optimizer) : optimizer_(optimizer) {}
  double base_lr(size_t group) const { return optimizer_.initial_lr(group); }

  Optimizer& optimizer_;
  int64_t steps_ = 0;
};

/// base * gamma^(step / step_size), rounded down. (torch.optim.lr_scheduler.StepLR)
class StepLr final : public LrScheduler {
 public:
  /// Throws Error unless step_size >= 1.
  StepLr(Optimizer& optimizer, int64_t step_size, double gamma = 0.1);
  double lr_at(size_t group, int64_t step) const override;

 private:
  int64_t step_size_;
  double gamma_;
};

/// base * gamma^(number of milestones reached). (torch.optim.lr_scheduler.MultiStepLR)
class MultiStepLr final : public LrScheduler {
 public:
  MultiStepLr(Optimizer& optimizer, std::vector<int64_t> milestones, double gamma = 0.1);
  double lr_at(size_t group, int64_t step) const override;

 private:
  std::vector<int64_t> milestones_;
  double gamma_;
};

/// min + (base - min) * (1 + cos(pi * step / total_steps)) / 2; rises again after total_steps. Loshchilov &
/// Hutter 2017. (torch.optim.lr_scheduler.CosineAnnealingLR)
class CosineAnnealingLr final : public LrScheduler {
 public:
  /// Throws Error unless total_steps >= 1.
  CosineAnnealingLr(Optimizer& optimizer, int64_t total_steps, double min_lr = 0);
  double lr_at(size_t group, int64_t step) const override;

 private:
  int64_t total_steps_;
  double min_lr_;
};

/// base times a factor that moves linearly from start_factor to end_factor within total_steps steps and then
/// stays: a linear warm-up. (torch.optim.lr_scheduler.LinearLR)
class LinearLr final : public LrScheduler {
 public:
  /// Throws Error unless total_steps >= 1.
  LinearLr(Optimizer& optimizer, int64_t total_steps, double start_factor = 1.0 / 3, double end_factor = 1);
  double lr_at(size_t group, int64_t step) const override;

 private:
  int64_t total_steps_;
  double start_factor_, end_factor_;
};

/// The arguments of torch.optim.lr_scheduler.OneCycleLR.
struct OneCycleOptions {
  std::vector<double> max_lr;  ///< one value for all groups, or one for each
  int64_t total_steps = 0;
  double pct_start = 0.3;         ///< the share of steps in which the learning rate rises
  bool linear = false;            ///< straight lines instead of half cosines
  bool cycle_momentum = true;     ///< moves momentum the other way
  double base_momentum = 0.85;    ///< at the peak of the learning rate
  double max_momentum = 0.95;     ///< at the ends
  double div_factor = 25;         ///< max_lr / the first learning rate
  double final_div_factor = 1e4;  ///< the first learning rate / the last
  bool three_phase = false;       ///< falls back to the first learning rate, then to the last
};

/// Rises from max_lr / div_factor to max_lr and falls to almost 0; momentum moves the other way. Smith &
/// Topin 2018. (torch.optim.lr_scheduler.OneCycleLR)
class OneCycleLr final : public LrScheduler {
 public:
  /// Throws Error for a wrong number of peaks, total_steps < 1 or a pct_start outside [0, 1].
  OneCycleLr(Optimizer& optimizer, OneCycleOptions options);
  /// Throws Error for a step beyond total_steps.
  double lr_at(size_t group, int64_t step) const override;
  double momentum_at(int64_t step) const;
  void set_step(int64_t step) override;

 private:
  double interpolate(int64_t step, double start, double peak, double end) const;
  OneCycleOptions options_;
};

/// Schedules one after another: schedule i starts, at its own step 0, when milestones[i - 1] is reached.
/// (torch.optim.lr_scheduler.SequentialLR)
class SequentialLr final : public LrScheduler {
 public:
  /// schedules: all for `optimizer`. Throws Error unless milestones rise, one fewer than the schedules.
  SequentialLr(Optimizer& optimizer, std::vector<std::shared_ptr<LrScheduler>> schedules,
               std::vector<int64_t> milestones);
  double lr_at(size_t group, int64_t step) const override;
  void set_step(int64_t step) override;

 private:
  /// Returns the schedule for `step`, and makes `step` count from that schedule's start.
  LrScheduler& active(int64_t& step) const;
  std::vector<std::shared_ptr<LrScheduler>> schedules_;
  std::vector<int64_t> milestones_;
};

/// Returns `schedule` after a linear warm-up: within warmup_steps steps the learning rate rises to its base,
/// from start_factor times that. Returns `schedule` itself for no steps.
std::shared_ptr<LrScheduler> with_warmup(Optimizer& optimizer, int64_t warmup_steps,
                                         std::shared_ptr<LrScheduler> schedule, double start_factor = 0.01);

}  // namespace taper
