#include "taper/nn/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace taper {
namespace {

/// From `start` (at 0) to `end` (at 1) along half a cosine.
double half_cosine(double start, double end, double at) {
  return end + (start - end) / 2 * (1 + std::cos(std::numbers::pi * at));
}

}  // namespace

void LrScheduler::set_step(int64_t step) {
  TAPER_CHECK(step >= 0, "LrScheduler: step {} is negative", step);
  for (size_t group = 0; group < optimizer_.group_count(); ++group) optimizer_.lr(group) = lr_at(group, step);
  steps_ = step;
}

StepLr::StepLr(Optimizer& optimizer, int64_t step_size, double gamma)
    : LrScheduler(optimizer), step_size_(step_size), gamma_(gamma) {
  TAPER_CHECK(step_size >= 1, "StepLr: step_size must be at least 1, got {}", step_size);
  set_step(0);
}

double StepLr::lr_at(size_t group, int64_t step) const {
  const int64_t reductions = step / step_size_;
  return base_lr(group) * std::pow(gamma_, double(reductions));
}

MultiStepLr::MultiStepLr(Optimizer& optimizer, std::vector<int64_t> milestones, double gamma)
    : LrScheduler(optimizer), milestones_(std::move(milestones)), gamma_(gamma) {
  set_step(0);
}

double MultiStepLr::lr_at(size_t group, int64_t step) const {
  const auto reached =
      std::count_if(milestones_.begin(), milestones_.end(), [step](int64_t m) { return m <= step; });
  return base_lr(group) * std::pow(gamma_, double(reached));
}

CosineAnnealingLr::CosineAnnealingLr(Optimizer& optimizer, int64_t total_steps, double min_lr)
    : LrScheduler(optimizer), total_steps_(total_steps), min_lr_(min_lr) {
  TAPER_CHECK(total_steps >= 1, "CosineAnnealingLr: total_steps must be at least 1, got {}", total_steps);
  set_step(0);
}

double CosineAnnealingLr::lr_at(size_t group, int64_t step) const {
  return half_cosine(base_lr(group), min_lr_, double(step) / double(total_steps_));
}

LinearLr::LinearLr(Optimizer& optimizer, int64_t total_steps, double start_factor, double end_factor)
    : LrScheduler(optimizer),
      total_steps_(total_steps),
      start_factor_(start_factor),
      end_factor_(end_factor) {
  TAPER_CHECK(total_steps >= 1, "LinearLr: total_steps must be at least 1, got {}", total_steps);
  set_step(0);
}

double LinearLr::lr_at(size_t group, int64_t step) const {
  const double at = double(std::min(step, total_steps_)) / double(total_steps_);
  return base_lr(group) * (start_factor_ + (end_factor_ - start_factor_) * at);
}

OneCycleLr::OneCycleLr(Optimizer& optimizer, OneCycleOptions options)
    : LrScheduler(optimizer), options_(std::move(options)) {
  const size_t groups = optimizer.group_count();
  if (options_.max_lr.size() == 1) options_.max_lr.resize(groups, options_.max_lr[0]);
  TAPER_CHECK(options_.max_lr.size() == groups, "OneCycleLr: {} max_lr for {} groups", options_.max_lr.size(),
              groups);
  TAPER_CHECK(options_.total_steps >= 1, "OneCycleLr: total_steps must be at least 1, got {}",
              options_.total_steps);
  TAPER_CHECK(options_.pct_start >= 0 && options_.pct_start <= 1,
              "OneCycleLr: pct_start must be from 0 to 1, got {}", options_.pct_start);
  set_step(0);
}

/// Returns the value at `step` between the corners of the cycle. As in PyTorch, corners lie one step early:
/// the last step is total_steps - 1.
double OneCycleLr::interpolate(int64_t step, double start, double peak, double end) const {
  const double total = double(options_.total_steps), rise = options_.pct_start * total;
  struct Corner {
    double step, value;
  };
  std::vector<Corner> corners = {{0, start}, {rise - 1, peak}};
  if (options_.three_phase) corners.push_back({2 * rise - 2, start});
  corners.push_back({total - 1, end});
  size_t next = 1;
  while (next + 1 < corners.size() && double(step) > corners[next].step) ++next;
  const Corner &from = corners[next - 1], &to = corners[next];
  const double length = to.step - from.step;
  const double at = length > 0 ? (double(step) - from.step) / length : 1;
  return options_.linear ? from.value + (to.value - from.value) * at : half_cosine(from.value, to.value, at);
}

double OneCycleLr::lr_at(size_t group, int64_t step) const {
  TAPER_CHECK(step <= options_.total_steps, "OneCycleLr: step {} is beyond the last of {}", step,
              options_.total_steps);
  const double peak = options_.max_lr[group], start = peak / options_.div_factor;
  return interpolate(step, start, peak, start / options_.final_div_factor);
}

double OneCycleLr::momentum_at(int64_t step) const {
  return interpolate(step, options_.max_momentum, options_.base_momentum, options_.max_momentum);
}

void OneCycleLr::set_step(int64_t step) {
  LrScheduler::set_step(step);
  if (!options_.cycle_momentum) return;
  for (size_t group = 0; group < optimizer_.group_count(); ++group)
    optimizer_.momentum(group) = momentum_at(step);
}

SequentialLr::SequentialLr(Optimizer& optimizer, std::vector<std::shared_ptr<LrScheduler>> schedules,
                           std::vector<int64_t> milestones)
    : LrScheduler(optimizer), schedules_(std::move(schedules)), milestones_(std::move(milestones)) {
  TAPER_CHECK(schedules_.size() == milestones_.size() + 1,
              "SequentialLr: {} schedules need {} milestones, got {}", schedules_.size(),
              int64_t(schedules_.size()) - 1, milestones_.size());
  TAPER_CHECK(std::is_sorted(milestones_.begin(), milestones_.end()),
              "SequentialLr: milestones [{}] must rise", fmt::join(milestones_, ", "));
  set_step(0);
}

LrScheduler& SequentialLr::active(int64_t& step) const {
  const auto after = std::upper_bound(milestones_.begin(), milestones_.end(), step);
  if (after != milestones_.begin()) step -= *(after - 1);
  return *schedules_[size_t(after - milestones_.begin())];
}

double SequentialLr::lr_at(size_t group, int64_t step) const {
  const LrScheduler& schedule = active(step);
  return schedule.lr_at(group, step);
}

void SequentialLr::set_step(int64_t step) {
  LrScheduler::set_step(step);
  active(step).set_step(step);  // may move more than the learning rate
}

std::shared_ptr<LrScheduler> with_warmup(Optimizer& optimizer, int64_t warmup_steps,
                                         std::shared_ptr<LrScheduler> schedule, double start_factor) {
  if (warmup_steps <= 0) return schedule;
  auto warmup = std::make_shared<LinearLr>(optimizer, warmup_steps, start_factor);
  return std::make_shared<SequentialLr>(optimizer,
                                        std::vector<std::shared_ptr<LrScheduler>>{warmup, schedule},
                                        std::vector<int64_t>{warmup_steps});
}

}  // namespace taper
