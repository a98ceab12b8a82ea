#include "taper/nn/amp/grad_scaler.h"

#include <cmath>
#include <limits>

#include "taper/autograd/functions.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/gpu/capture_refusal.h"
#include "taper/nn/parallel/sharded_parameters.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/optimizer/controls.h"

namespace taper {
namespace {

bool is_scale(double scale) {
  return float(scale) >= std::numeric_limits<float>::min() && std::isfinite(float(scale));
}

void check(const GradScalerOptions& options) {
  TAPER_CHECK(is_scale(options.init_scale),
              "GradScaler: init_scale must be positive and finite in f32, at least 2^-126, got {}",
              options.init_scale);
  TAPER_CHECK(options.growth_factor > 1, "GradScaler: growth_factor must be above 1, got {}",
              options.growth_factor);
  TAPER_CHECK(options.backoff_factor > 0 && options.backoff_factor < 1,
              "GradScaler: backoff_factor must be between 0 and 1, got {}", options.backoff_factor);
  TAPER_CHECK(options.growth_interval >= 1, "GradScaler: growth_interval must be at least 1, got {}",
              options.growth_interval);
}

}  // namespace

GradScaler::GradScaler(const GradScalerOptions& options) : options_(options) {
  check(options);
}

Tensor GradScaler::scale(const Tensor& loss) {
  if (!options_.enabled) return loss;
  TAPER_CHECK(loss.defined(), "GradScaler: the loss is undefined");
  if (!scale_.defined()) {
    gpu::detail::refuse_in_capture(
        loss.device(), "the first loss cannot be captured: each replay would begin with the first scale");
    // Both or none: memory may run out between them.
    const Tensor scale = ops::full({}, options_.init_scale, {.device = loss.device()});
    growth_tracker_ = ops::full({}, first_growth_tracker_, {.dtype = kInt32, .device = loss.device()});
    scale_ = scale;
  }
  return mul(loss, scale_);
}

void GradScaler::unscale(Optimizer& optimizer) {
  if (!options_.enabled) return;
  const OpScope scope("GradScaler unscale", SpanKind::kOptimizer);
  TAPER_CHECK(scale_.defined(), "GradScaler: the loss was not scaled; call scale(loss).backward() first");
  const auto known = progress_.find(&optimizer);
  if (known != progress_.end()) {
    TAPER_CHECK(!known->second.stepped, "GradScaler: unscale() after step(); it belongs before");
    fail("GradScaler: unscale() was already called for this optimizer since the last update()");
  }
  std::vector<Tensor> grads;
  for (const Tensor& parameter : optimizer.parameters()) {
    const Tensor grad = parameter.grad();
    if (!grad.defined()) continue;
    TAPER_CHECK(grad.dtype() != kFloat16,
                "GradScaler: a gradient is f16, which would lose it when it is unscaled; keep parameters in "
                "f32 and let autocast choose f16");
    grads.push_back(grad);
  }
  TAPER_CHECK(!grads.empty(), "GradScaler: no parameter has a gradient; call scale(loss).backward() first");
  const Tensor found_inf = ops::zeros({}, {.device = scale_.device()});
  ops::unscale_(grads, ops::reciprocal(scale_), found_inf);
  if (optimizer.shards()) optimizer.shards()->all_reduce(found_inf, ReduceOp::kMax, "infinities");
  progress_[&optimizer] = {.found_inf = found_inf};
}

void GradScaler::step(Optimizer& optimizer) {
  if (!options_.enabled) return optimizer.step();
  if (!progress_.contains(&optimizer)) unscale(optimizer);
  Progress& progress = progress_.at(&optimizer);
  TAPER_CHECK(!progress.stepped,
              "GradScaler: step() was already called for this optimizer since the last update()");
  optimizer.step(progress.found_inf);
  progress.stepped = true;
}

void GradScaler::update() {
  if (!options_.enabled) return;
  const OpScope scope("GradScaler update", SpanKind::kOptimizer);
  TAPER_CHECK(!progress_.empty(), "GradScaler: update() without a step() since the last update()");
  Tensor found_inf;
  for (const auto& [optimizer, progress] : progress_) {
    found_inf = found_inf.defined() ? ops::add(found_inf, progress.found_inf) : progress.found_inf;
  }
  ops::update_scale_(scale_, growth_tracker_, found_inf, options_.growth_factor, options_.backoff_factor,
                     options_.growth_interval);
  progress_.clear();
}

double GradScaler::get_scale() const {
  if (!options_.enabled) return 1;
  return scale_.defined() ? ops::item(scale_) : options_.init_scale;
}

Tensor GradScaler::found_inf(const Optimizer& optimizer) const {
  if (!options_.enabled) return {};
  const auto known = progress_.find(&optimizer);
  TAPER_CHECK(known != progress_.end(),
              "GradScaler: found_inf() without an unscale() or step() for this optimizer since the last "
              "update()");
  return known->second.found_inf;
}

SavedState GradScaler::state_dict() const {
  if (!options_.enabled) return {};
  const double tracker =
      growth_tracker_.defined() ? ops::item(growth_tracker_) : double(first_growth_tracker_);
  return {.tensors = {},
          .numbers = {{"scale", get_scale()},
                      {"growth_factor", options_.growth_factor},
                      {"backoff_factor", options_.backoff_factor},
                      {"growth_interval", double(options_.growth_interval)},
                      {"growth_tracker", tracker}}};
}

void GradScaler::load_state_dict(const SavedState& state) {
  if (!options_.enabled) return;
  TAPER_CHECK(progress_.empty(), "GradScaler: load_state_dict() between unscale() and update()");
  const auto number = [&](const char* name) { return state.number(name, "GradScaler"); };
  const auto whole = [&](const char* name, double least, double most) {
    const double value = number(name);
    TAPER_CHECK(value >= least && value <= most && value == std::floor(value),
                "GradScaler: the saved {} must be a whole number from {} to {}, got {}", name, least, most,
                value);
    return int64_t(value);
  };
  constexpr double kMostWhole = 0x1p53;  // beyond it a double leaves out numbers
  constexpr double kMostTracked = std::numeric_limits<int32_t>::max();  // the tracker is i32
  TAPER_CHECK(is_scale(number("scale")), "GradScaler: the saved scale must be positive and finite, got {}",
              number("scale"));
  const GradScalerOptions saved = {.init_scale = number("scale"),
                                   .growth_factor = number("growth_factor"),
                                   .backoff_factor = number("backoff_factor"),
                                   .growth_interval = whole("growth_interval", 1, kMostWhole)};
  const int64_t tracker = whole("growth_tracker", 0, kMostTracked);
  check(saved);
  options_ = saved;
  first_growth_tracker_ = tracker;
  scale_ = growth_tracker_ = {};
}

}  // namespace taper
