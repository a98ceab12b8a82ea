#include "taper/nn/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

#include "taper/ops/copy/copy.h"
#include "taper/ops/optimizer/controls.h"

namespace taper {
namespace {

/// From `start` (at 0) to `end` (at 1) along half a cosine.
double half_cosine(double start, double end, double at) {
  return end + (start - end) / 2 * (1 + std::cos(std::numbers::pi * at));
}

/// Returns the prefix for what a SequentialLr's schedule `part` saves.
std::string part_prefix(const std::string& prefix, size_t part) {
  return fmt::format("{}schedule{}.", prefix, part);
}

}  // namespace

bool LrScheduler::InFlight::skipped() const {
  arrived.synchronize();
  return ops::item(on_host) != 0;
}

void LrScheduler::step(const Tensor& skip) {
  if (!skip.defined() || skip.device().is_cpu()) {
    if (!skip.defined() || ops::item(skip) == 0) set_step(steps() + 1);
    return;
  }
  int64_t step = steps_ + 1;
  std::deque<InFlight> in_flight = std::exchange(in_flight_, {});
  in_flight.push_back({.skip = skip, .on_host = ops::to_device(skip, kCPU, true)});
  in_flight.back().arrived.record(gpu::current_stream(skip.device().index));
  for (; in_flight.size() > ops::kMostFlags; in_flight.pop_front()) step -= in_flight.front().skipped();
  set_step(step);
  in_flight_ = std::move(in_flight);

  // The host knows the learning rate for every number of skipped steps, the device knows the number.
  std::vector<Tensor> skips;
  for (const InFlight& other : in_flight_) skips.push_back(other.skip);
  for (size_t group = 0; group < optimizer_.group_count(); ++group) {
    std::vector<double> rates;
    for (int64_t at = step - int64_t(skips.size()); at <= step; ++at) rates.push_back(lr_at(group, at));
    // If they are all alike, the device has this rate already, or the optimiser's next step publishes it.
    const bool alike = std::ranges::adjacent_find(rates, std::not_equal_to()) == rates.end();
    if (!alike) optimizer_.choose_lr(group, rates, skips);
  }
}

int64_t LrScheduler::steps() {
  if (!in_flight_.empty()) {
    set_step(steps_ - std::ranges::count_if(in_flight_, [](const InFlight& s) { return s.skipped(); }));
  }
  return steps_;
}

void LrScheduler::set_step(int64_t step) {
  TAPER_CHECK(step >= 0, "LrScheduler: step {} is negative", step);
  for (size_t group = 0; group < optimizer_.group_count(); ++group) {
    optimizer_.lr(group) = lr_at(group, step);
    if (!in_flight_.empty()) optimizer_.choose_lr(group, {lr_at(group, step)}, {});  // in place of its choice
  }
  in_flight_.clear();
  steps_ = step;
}

SavedState LrScheduler::state_dict() {
  SavedState state = {.tensors = {}, .numbers = {{"step", double(steps())}}};
  save(state, "");
  return state;
}

void LrScheduler::load_state_dict(const SavedState& state) {
  SavedState wanted = {.tensors = {}, .numbers = {{"step", 0}}};
  save(wanted, "");
  for (const auto& [name, value] : wanted.numbers) state.number(name, "LrScheduler");
  restore(state, "");
  set_step(int64_t(state.numbers.at("step")));
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

ExponentialLr::ExponentialLr(Optimizer& optimizer, double gamma) : LrScheduler(optimizer), gamma_(gamma) {
  TAPER_CHECK(gamma > 0, "ExponentialLr: gamma must be above 0, got {}", gamma);
  set_step(0);
}

double ExponentialLr::lr_at(size_t group, int64_t step) const {
  return base_lr(group) * std::pow(gamma_, double(step));
}

PolynomialLr::PolynomialLr(Optimizer& optimizer, int64_t total_steps, double power, double min_lr)
    : LrScheduler(optimizer), total_steps_(total_steps), power_(power), min_lr_(min_lr) {
  TAPER_CHECK(total_steps >= 1, "PolynomialLr: total_steps must be at least 1, got {}", total_steps);
  TAPER_CHECK(power > 0, "PolynomialLr: power must be above 0, got {}", power);
  set_step(0);
}

double PolynomialLr::lr_at(size_t group, int64_t step) const {
  const double left = 1 - double(std::min(step, total_steps_)) / double(total_steps_);
  return min_lr_ + (base_lr(group) - min_lr_) * std::pow(left, power_);
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

void SequentialLr::observe(double score) {
  const int64_t now = steps();
  int64_t step = now;
  active(step).observe(score);
  set_step(now);
}

void SequentialLr::save(SavedState& state, const std::string& prefix) const {
  for (size_t i = 0; i < schedules_.size(); ++i) schedules_[i]->save(state, part_prefix(prefix, i));
}

void SequentialLr::restore(const SavedState& state, const std::string& prefix) {
  for (size_t i = 0; i < schedules_.size(); ++i) schedules_[i]->restore(state, part_prefix(prefix, i));
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
