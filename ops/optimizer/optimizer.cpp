#include "taper/ops/optimizer/optimizer.h"

#include <algorithm>
#include <cmath>

#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/op_call.h"
#include "taper/ops/optimizer/flat_list.h"
#include "taper/ops/optimizer/optimizer_cpu.h"

namespace taper::ops {

void sgd_update(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                const std::vector<Tensor>& momentum_buffers, const SgdOptions& options, bool first_step) {
  const OpCall call("sgd_update", params);
  const FlatList p("sgd_update", "params", params);
  const FlatList g("sgd_update", "grads", grads, p);
  if (options.momentum == 0) {
    TAPER_CHECK(momentum_buffers.empty(), "sgd_update: {} momentum_buffers without momentum",
                momentum_buffers.size());
    if (p.on_cpu()) sgd_update_cpu(p.tensors(), g.tensors(), {}, options, first_step);
  } else {
    const FlatList b("sgd_update", "momentum_buffers", momentum_buffers, p);
    if (p.on_cpu()) sgd_update_cpu(p.tensors(), g.tensors(), b.tensors(), options, first_step);
    b.finish_write();
  }
  p.finish_write();
}

void adamw_update(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                  const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                  const AdamWOptions& options, int64_t step) {
  const OpCall call("adamw_update", params);
  TAPER_CHECK(step >= 1, "adamw_update: step counts from 1, got {}", step);
  const FlatList p("adamw_update", "params", params);
  const FlatList g("adamw_update", "grads", grads, p);
  const FlatList m("adamw_update", "exp_avgs", exp_avgs, p);
  const FlatList v("adamw_update", "exp_avg_sqs", exp_avg_sqs, p);
  if (p.on_cpu()) adamw_update_cpu(p.tensors(), g.tensors(), m.tensors(), v.tensors(), options, step);
  p.finish_write();
  m.finish_write();
  v.finish_write();
}

void ema_update(const std::vector<Tensor>& averages, const std::vector<Tensor>& params, double decay) {
  const OpCall call("ema_update", params);
  TAPER_CHECK(decay >= 0 && decay <= 1, "ema_update: decay must be between 0 and 1, got {}", decay);
  const FlatList a("ema_update", "averages", averages);
  const FlatList p("ema_update", "params", params, a);
  if (a.on_cpu()) ema_update_cpu(a.tensors(), p.tensors(), decay);
  a.finish_write();
}

Tensor global_norm(const std::vector<Tensor>& tensors) {
  const OpCall call("global_norm", tensors);
  const FlatList list("global_norm", "tensors", tensors);
  const bool wide =
      std::any_of(tensors.begin(), tensors.end(), [](const Tensor& x) { return x.dtype() == kFloat64; });
  const TensorOptions options{.dtype = wide ? kFloat64 : kFloat32,
                              .device = tensors.empty() ? Device() : tensors[0].device()};
  return full({}, std::sqrt(sum_of_squares_cpu(list.tensors())), options);
}

void scale_(const std::vector<Tensor>& tensors, double factor) {
  const OpCall call("scale_", tensors);
  const FlatList list("scale_", "tensors", tensors);
  if (list.on_cpu()) scale_cpu(list.tensors(), factor);
  list.finish_write();
}

void scale_(const std::vector<Tensor>& tensors, const Tensor& factor) {
  const OpCall call("scale_", tensors);
  if (!tensors.empty()) check_same_device("scale_", tensors[0], factor);
  scale_(tensors, item(factor));
}

}  // namespace taper::ops
