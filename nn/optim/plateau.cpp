#include "taper/nn/optim/plateau.h"

#include <algorithm>
#include <cmath>

namespace taper {

ReduceLrOnPlateau::ReduceLrOnPlateau(Optimizer& optimizer, const ReduceLrOnPlateauOptions& options)
    : LrScheduler(optimizer), options_(options) {
  TAPER_CHECK(options.factor > 0 && options.factor < 1,
              "ReduceLrOnPlateau: factor must be between 0 and 1, got {}", options.factor);
  TAPER_CHECK(options.patience >= 0 && options.cooldown >= 0,
              "ReduceLrOnPlateau: patience ({}) and cooldown ({}) must not be negative", options.patience,
              options.cooldown);
  TAPER_CHECK(options.threshold >= 0 && options.min_lr >= 0 && options.eps >= 0,
              "ReduceLrOnPlateau: threshold ({}), min_lr ({}) and eps ({}) must not be negative",
              options.threshold, options.min_lr, options.eps);
  for (size_t group = 0; group < optimizer.group_count(); ++group) lrs_.push_back(base_lr(group));
  set_step(0);
}

double ReduceLrOnPlateau::lr_at(size_t group, int64_t /*step*/) const {
  return lrs_[group];
}

bool ReduceLrOnPlateau::is_better(double score) const {
  if (!best_) return !std::isnan(score);
  const double margin = options_.maximize ? options_.threshold : -options_.threshold;
  const double bound = options_.relative_threshold ? *best_ * (1 + margin) : *best_ + margin;
  return options_.maximize ? score > bound : score < bound;
}

void ReduceLrOnPlateau::reduce() {
  for (double& lr : lrs_) {
    const double lower = std::max(lr * options_.factor, options_.min_lr);
    if (lr - lower > options_.eps) lr = lower;
  }
}

void ReduceLrOnPlateau::observe(double score) {
  const int64_t step = steps();  // settles what is in flight with the learning rates that it was made with
  if (is_better(score)) {
    best_ = score;
    bad_epochs_ = 0;
  } else {
    ++bad_epochs_;
  }
  if (cooldown_ > 0) {
    --cooldown_;
    bad_epochs_ = 0;
  }
  if (bad_epochs_ > options_.patience) {
    reduce();
    cooldown_ = options_.cooldown;
    bad_epochs_ = 0;
  }
  set_step(step);
}

void ReduceLrOnPlateau::save(SavedState& state, const std::string& prefix) const {
  state.numbers[prefix + "has_best"] = best_.has_value();
  state.numbers[prefix + "best"] = best_.value_or(0);
  state.numbers[prefix + "bad_epochs"] = double(bad_epochs_);
  state.numbers[prefix + "cooldown"] = double(cooldown_);
  for (size_t group = 0; group < lrs_.size(); ++group)
    state.numbers[fmt::format("{}lr{}", prefix, group)] = lrs_[group];
}

void ReduceLrOnPlateau::restore(const SavedState& state, const std::string& prefix) {
  const auto number = [&](const std::string& name) { return state.numbers.at(prefix + name); };
  best_.reset();
  if (number("has_best") != 0) best_ = number("best");
  bad_epochs_ = int64_t(number("bad_epochs"));
  cooldown_ = int64_t(number("cooldown"));
  for (size_t group = 0; group < lrs_.size(); ++group) lrs_[group] = number(fmt::format("lr{}", group));
}

}  // namespace taper
