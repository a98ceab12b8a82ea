#include "taper/ops/optimizer/optimizer.h"

#include <algorithm>
#include <cmath>

#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/op_call.h"
#include "taper/ops/optimizer/flat_list.h"
#include "taper/ops/optimizer/optimizer_cpu.h"
#include "taper/ops/optimizer/optimizer_gpu.h"
#include "taper/ops/optimizer/update_checks.h"

namespace taper::ops {
namespace {

/// adam_update() and adamw_update(), which differ in `op` and the options.
void update_by_adam(std::string_view op, const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                    const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                    const AdamOptions& options, int64_t step, const UpdateControls& controls,
                    const std::vector<Tensor>& copies) {
  const OpCall call(op, params);
  TAPER_CHECK(step >= 1 || controls.step.defined(), "{}: step counts from 1, got {}", op, step);
  const FlatList p(op, "params", params);
  const FlatList g(op, "grads", grads, p);
  const FlatList m(op, "exp_avgs", exp_avgs, p);
  const FlatList v(op, "exp_avg_sqs", exp_avg_sqs, p);
  check_controls(op, p, controls);
  check_copies(op, params, p, copies);
  if (!p.on_cpu()) {
    adam_update_gpu(p.tensors(), g.tensors(), m.tensors(), v.tensors(), options, step, controls, copies);
  } else if (!is_skipped(controls)) {
    AdamOptions now = options;
    if (controls.lr.defined()) now.lr = item(controls.lr);
    if (controls.step.defined()) step = item<int64_t>(controls.step);
    adam_update_cpu(p.tensors(), g.tensors(), m.tensors(), v.tensors(), now, step, copies);
  }
  p.finish_write();
  m.finish_write();
  v.finish_write();
  finish_write(copies);
}

}  // namespace

void sgd_update(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                const std::vector<Tensor>& momentum_buffers, const SgdOptions& options, bool first_step,
                const UpdateControls& controls, const std::vector<Tensor>& copies) {
  const OpCall call("sgd_update", params);
  const FlatList p("sgd_update", "params", params);
  const FlatList g("sgd_update", "grads", grads, p);
  TAPER_CHECK(options.momentum != 0 || momentum_buffers.empty(),
              "sgd_update: {} momentum_buffers without momentum", momentum_buffers.size());
  const FlatList b = options.momentum == 0 ? FlatList("sgd_update", "momentum_buffers", {})
                                           : FlatList("sgd_update", "momentum_buffers", momentum_buffers, p);
  check_controls("sgd_update", p, controls);
  check_copies("sgd_update", params, p, copies);
  if (!p.on_cpu()) {
    sgd_update_gpu(p.tensors(), g.tensors(), b.tensors(), options, first_step, controls, copies);
  } else if (!is_skipped(controls)) {
    SgdOptions now = options;
    if (controls.lr.defined()) now.lr = item(controls.lr);
    if (controls.step.defined()) first_step = item(controls.step) == 1;
    sgd_update_cpu(p.tensors(), g.tensors(), b.tensors(), now, first_step, copies);
  }
  b.finish_write();
  p.finish_write();
  finish_write(copies);
}

void adam_update(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                 const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                 const AdamOptions& options, int64_t step, const UpdateControls& controls,
                 const std::vector<Tensor>& copies) {
  update_by_adam("adam_update", params, grads, exp_avgs, exp_avg_sqs, options, step, controls, copies);
}

void adamw_update(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                  const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                  const AdamWOptions& options, int64_t step, const UpdateControls& controls,
                  const std::vector<Tensor>& copies) {
  const AdamOptions decoupled = {.lr = options.lr,
                                 .beta1 = options.beta1,
                                 .beta2 = options.beta2,
                                 .eps = options.eps,
                                 .weight_decay = options.weight_decay,
                                 .decoupled_weight_decay = true};
  update_by_adam("adamw_update", params, grads, exp_avgs, exp_avg_sqs, decoupled, step, controls, copies);
}

void ema_update(const std::vector<Tensor>& averages, const std::vector<Tensor>& params, double decay,
                const UpdateControls& controls) {
  const OpCall call("ema_update", params);
  TAPER_CHECK(decay >= 0 && decay <= 1, "ema_update: decay must be between 0 and 1, got {}", decay);
  const FlatList a("ema_update", "averages", averages);
  const FlatList p("ema_update", "params", params, a);
  check_controls("ema_update", a, controls);
  if (!a.on_cpu()) {
    ema_update_gpu(a.tensors(), p.tensors(), decay, controls);
  } else if (!is_skipped(controls)) {
    const bool first = controls.step.defined() && item(controls.step) == 1;
    ema_update_cpu(a.tensors(), p.tensors(), decay, first);
  }
  a.finish_write();
}

Tensor global_norm(const std::vector<Tensor>& tensors) {
  const OpCall call("global_norm", tensors);
  const FlatList list("global_norm", "tensors", tensors);
  const bool wide =
      std::any_of(tensors.begin(), tensors.end(), [](const Tensor& x) { return x.dtype() == kFloat64; });
  const DType dtype = wide ? kFloat64 : kFloat32;
  if (list.on_cpu()) return full({}, std::sqrt(sum_of_squares_cpu(list.tensors())), {.dtype = dtype});
  const Tensor norm = empty({}, {.dtype = dtype, .device = tensors[0].device()});
  global_norm_gpu(list.tensors(), norm);
  return norm;
}

void scale_(const std::vector<Tensor>& tensors, double factor) {
  const OpCall call("scale_", tensors);
  const FlatList list("scale_", "tensors", tensors);
  list.on_cpu() ? scale_cpu(list.tensors(), factor) : scale_gpu(list.tensors(), factor);
  list.finish_write();
}

void scale_(const std::vector<Tensor>& tensors, const Tensor& factor) {
  const OpCall call("scale_", tensors);
  check_defined("scale_", "factor", factor);
  if (tensors.empty()) return;
  if (factor.device().is_cpu()) return scale_(tensors, item(factor));
  check_same_device("scale_", tensors[0], factor);
  TAPER_CHECK(factor.numel() == 1, "scale_: the factor must be one number, got shape {}", factor.shape());
  const FlatList list("scale_", "tensors", tensors);
  scale_gpu(list.tensors(), factor.dtype() == kFloat64 ? factor : cast(factor, kFloat32));
  list.finish_write();
}

void unscale_(const std::vector<Tensor>& tensors, const Tensor& inverse_scale, const Tensor& found_inf) {
  const OpCall call("unscale_", tensors);
  check_defined("unscale_", "inverse_scale", inverse_scale);
  check_defined("unscale_", "found_inf", found_inf);
  if (tensors.empty()) return;
  const FlatList list("unscale_", "tensors", tensors);
  check_number("unscale_", "inverse_scale", inverse_scale, kFloat32, tensors[0].device());
  check_number("unscale_", "found_inf", found_inf, kFloat32, tensors[0].device());
  if (!list.on_cpu()) {
    unscale_gpu(list.tensors(), inverse_scale, found_inf);
    found_inf.bump_version();
  } else if (!unscale_cpu(list.tensors(), item(inverse_scale))) {
    fill_(found_inf, 1);
  }
  list.finish_write();
}

}  // namespace taper::ops
