#pragma once
// Learning rates over time. A schedule is a formula from the number of steps to each group's learning rate,
// so it can start anywhere. The caller decides what a step is (an update, an epoch). PyTorch's counterpart:
// torch/optim/lr_scheduler.py.
//
//   CosineAnnealingLr schedule(optimizer, total_steps);
//   for (...) { ...; optimizer.step(); schedule.step(); }

#include <deque>
#include <memory>
#include <vector>

#include "taper/core/gpu/runtime.h"
#include "taper/nn/optim/optimizer.h"

namespace taper {

class LrScheduler {
 public:
  virtual ~LrScheduler() = default;
  LrScheduler(const LrScheduler&) = delete;
  LrScheduler& operator=(const LrScheduler&) = delete;

  /// Advances by one step. Call it after the optimiser's step(). skip: as for Optimizer::step(); if it is not
  /// 0, the schedule stays where it is. A GPU chooses the learning rate itself: the host does not wait for
  /// `skip`, only for the one of two calls ago. Meanwhile lr() and momentum() of the optimiser are what they
  /// are if nothing was skipped. So momentum, which the host gives to updates, can be a step or two ahead
  /// after a skipped one.
  void step(const Tensor& skip = {});
  /// Returns the number of steps. Waits for what a GPU has skipped; from then on lr() and momentum() are
  /// right, too.
  int64_t steps();
  /// Sets the optimiser to its state after `step` steps.
  virtual void set_step(int64_t step);
  /// Returns a group's learning rate after `step` steps.
  virtual double lr_at(size_t group, int64_t step) const = 0;

  /// Tells the schedule what an evaluation came to. Those that are formulas ignore it; ReduceLrOnPlateau
  /// (plateau.h) may lower the learning rates at once. Waits as steps() does.
  virtual void observe(double /*score*/) {}

  /// Returns the number "step", and what else a schedule remembers.
  SavedState state_dict();
  /// Resumes at the saved step. Throws Error, with nothing changed, if a number is missing.
  void load_state_dict(const SavedState& state);

 protected:
  /// `optimizer` must outlive the schedule. Constructors end with set_step(0).
  explicit LrScheduler(Optimizer& optimizer) : optimizer_(optimizer) {}
  double base_lr(size_t group) const { return optimizer_.initial_lr(group); }

  /// Adds what a schedule remembers besides its step to the numbers, under names that begin with `prefix` and
  /// are always the same.
  virtual void save(SavedState& /*state*/, const std::string& /*prefix*/) const {}
  /// Takes the numbers that save() added. All are there.
  virtual void restore(const SavedState& /*state*/, const std::string& /*prefix*/) {}

  Optimizer& optimizer_;
  int64_t steps_ = 0;  ///< counts steps in flight

 private:
  friend class SequentialLr;  // saves and restores its parts

  /// A step that the GPU may have skipped. The host does not know yet.
  struct InFlight {
    Tensor skip, on_host;
    gpu::Event arrived = gpu::Event();

    bool skipped() const;
  };
  std::deque<InFlight> in_flight_;
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

/// base * gamma^step. (torch.optim.lr_scheduler.ExponentialLR)
class ExponentialLr final : public LrScheduler {
 public:
  /// Throws Error unless gamma > 0.
  ExponentialLr(Optimizer& optimizer, double gamma);
  double lr_at(size_t group, int64_t step) const override;

 private:
  double gamma_;
};

/// min + (base - min) * (1 - step / total_steps)^power; min after total_steps. A power of 1 is a straight
/// line. (torch.optim.lr_scheduler.PolynomialLR, where min is 0)
class PolynomialLr final : public LrScheduler {
 public:
  /// Throws Error unless total_steps >= 1 and power > 0.
  PolynomialLr(Optimizer& optimizer, int64_t total_steps, double power = 1, double min_lr = 0);
  double lr_at(size_t group, int64_t step) const override;

 private:
  int64_t total_steps_;
  double power_, min_lr_;
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
  /// Tells the schedule whose turn it is.
  void observe(double score) override;

 private:
  void save(SavedState& state, const std::string& prefix) const override;
  void restore(const SavedState& state, const std::string& prefix) override;
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
