#include "taper/nn/optim/clip.h"

#include "taper/core/base/op_scope.h"
#include "taper/nn/parallel/sharded_parameters.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/optimizer/optimizer.h"

namespace taper {
namespace {

std::vector<Tensor> grads_of(const std::vector<Tensor>& parameters) {
  std::vector<Tensor> grads;
  for (const Tensor& parameter : parameters) {
    if (const Tensor grad = parameter.grad(); grad.defined()) grads.push_back(grad);
  }
  return grads;
}

/// `norm` stays a tensor, so that the host need not wait for a GPU.
Tensor clip_to(const std::vector<Tensor>& grads, const Tensor& norm, double max_norm) {
  TAPER_CHECK(max_norm >= 0, "clip_grad_norm: max_norm must not be negative, got {}", max_norm);
  ops::scale_(grads, ops::clamp(ops::div(max_norm, ops::add(norm, 1e-6)), {}, 1.0));
  return norm;
}

}  // namespace

Tensor clip_grad_norm(const std::vector<Tensor>& parameters, double max_norm) {
  const OpScope scope("clip_grad_norm", SpanKind::kOptimizer);
  const std::vector<Tensor> grads = grads_of(parameters);
  return clip_to(grads, ops::global_norm(grads), max_norm);
}

Tensor clip_grad_norm(const Optimizer& optimizer, double max_norm) {
  if (!optimizer.shards()) return clip_grad_norm(optimizer.parameters(), max_norm);
  const OpScope scope("clip_grad_norm", SpanKind::kOptimizer);
  const std::vector<Tensor> grads = grads_of(optimizer.parameters());
  const Tensor own = ops::global_norm(grads), wide = ops::cast(own, kFloat64);
  const Tensor squares = ops::mul(wide, wide);
  optimizer.shards()->all_reduce(squares, ReduceOp::kSum, "norm of gradients");
  return clip_to(grads, ops::cast(ops::sqrt(squares), own.dtype()), max_norm);
}

void clip_grad_value(const std::vector<Tensor>& parameters, double limit) {
  TAPER_CHECK(limit >= 0, "clip_grad_value: limit must not be negative, got {}", limit);
  const OpScope scope("clip_grad_value", SpanKind::kOptimizer);
  for (const Tensor& grad : grads_of(parameters)) ops::copy_(grad, ops::clamp(grad, -limit, limit));
}

}  // namespace taper
