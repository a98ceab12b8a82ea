#include "taper/ops/reduce/reduce.h"

#include "taper/core/views.h"
#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/op_call.h"
#include "taper/ops/reduce/reduce_cpu.h"
#include "taper/ops/reduce/reduce_gpu.h"

namespace taper::ops {

Dims normalize_axes(const Dims& axes, int64_t dim, std::string_view op) {
  Dims result;
  if (axes.empty()) {
    for (int64_t axis = 0; axis < dim; ++axis) result.push_back(axis);
    return result;
  }
  for (const int64_t given : axes) {
    const int64_t axis = normalize_axis(given, dim, op);
    TAPER_CHECK(!result.contains(axis), "{}: axis {} is given twice in {}", op, given, axes);
    result.push_back(axis);
  }
  std::sort(result.begin(), result.end());
  if (dim == 0) return {};
  return result;
}

Shape reduced_shape(const Shape& shape, const Dims& axes, bool keepdim) {
  Shape result;
  for (int64_t axis = 0; axis < shape.size(); ++axis) {
    if (!axes.contains(axis)) {
      result.push_back(shape[axis]);
    } else if (keepdim) {
      result.push_back(1);
    }
  }
  return result;
}

namespace {

Tensor reduce(ReduceOp op, std::string_view name, const Tensor& x, const Dims& given_axes, bool keepdim,
              DType dtype) {
  const OpCall call(name, x);
  const Dims axes = normalize_axes(given_axes, x.dim(), name);
  const Tensor out = empty(reduced_shape(x.shape(), axes, true), {.dtype = dtype, .device = x.device()});
  if (op == ReduceOp::kMax || op == ReduceOp::kMin) {
    for (const int64_t axis : axes) {
      TAPER_CHECK(x.size(axis) > 0, "{}: axis {} of shape {} has no elements to choose from", name, axis,
                  x.shape());
    }
  }
  if (out.numel() > 0) (x.device().is_cuda() ? reduce_gpu : reduce_cpu)(op, out, x, axes);
  return keepdim ? out : views::view(out, reduced_shape(x.shape(), axes, false));
}

ValuesAndIndices reduce_indices(ReduceOp op, std::string_view name, const Tensor& x, int64_t given_axis,
                                bool keepdim) {
  const OpCall call(name, x);
  check_defined(name, "input", x);
  const int64_t axis = normalize_axis(given_axis, x.dim(), name);
  const Dims axes = x.dim() > 0 ? Dims{axis} : Dims{};
  TAPER_CHECK(x.dim() == 0 || x.size(axis) > 0, "{}: axis {} of shape {} has no elements to choose from",
              name, axis, x.shape());
  const Shape full = reduced_shape(x.shape(), axes, true);
  const Tensor values = empty(full, {.dtype = x.dtype(), .device = x.device()});
  const Tensor indices = empty(full, {.dtype = kInt64, .device = x.device()});
  if (values.numel() > 0) {
    (x.device().is_cuda() ? reduce_indices_gpu : reduce_indices_cpu)(op, values, indices, x, axis);
  }
  if (keepdim) return {values, indices};
  const Shape shape = reduced_shape(x.shape(), axes, false);
  return {views::view(values, shape), views::view(indices, shape)};
}

Tensor truth(ReduceOp op, std::string_view name, const Tensor& x, const Dims& axes, bool keepdim) {
  check_defined(name, "input", x);
  return reduce(op, name, x, axes, keepdim, kBool);
}

Tensor floating(ReduceOp op, std::string_view name, const Tensor& x, const Dims& axes, bool keepdim) {
  check_defined(name, "input", x);
  check_floating_point(name, x);
  return reduce(op, name, x, axes, keepdim, x.dtype());
}

Tensor extreme(ReduceOp op, std::string_view name, const Tensor& x, const Dims& axes, bool keepdim) {
  check_defined(name, "input", x);
  return reduce(op, name, x, axes, keepdim, x.dtype());
}

/// Returns the variance in the compute type of x's dtype.
Tensor variance(std::string_view name, const Tensor& given, const Dims& given_axes, int64_t correction,
                bool keepdim) {
  const OpCall call(name, given);
  check_defined(name, "input", given);
  check_floating_point(name, given);
  const Tensor x = cast(given, compute_dtype(given.dtype()));
  const Dims axes = normalize_axes(given_axes, x.dim(), name);
  int64_t count = 1;
  for (const int64_t axis : axes) count *= x.size(axis);
  const Tensor centered = sub(x, reduce(ReduceOp::kMean, name, x, axes, true, x.dtype()));
  const Tensor sums = reduce(ReduceOp::kSum, name, square(centered), axes, keepdim, x.dtype());
  return div(sums, double(std::max<int64_t>(count - correction, 0)));
}

}  // namespace

Tensor sum(const Tensor& x, const Dims& axes, bool keepdim, std::optional<DType> result_dtype) {
  check_defined("sum", "input", x);
  const DType dtype =
      checked_result_dtype("sum", is_floating_point(x.dtype()) ? x.dtype() : kInt64, result_dtype);
  return reduce(ReduceOp::kSum, "sum", x, axes, keepdim, dtype);
}

Tensor mean(const Tensor& x, const Dims& axes, bool keepdim) {
  return floating(ReduceOp::kMean, "mean", x, axes, keepdim);
}

Tensor norm(const Tensor& x, const Dims& axes, bool keepdim) {
  return floating(ReduceOp::kNorm, "norm", x, axes, keepdim);
}

Tensor var(const Tensor& x, const Dims& axes, int64_t correction, bool keepdim) {
  return cast(variance("var", x, axes, correction, keepdim), x.dtype());
}

Tensor std(const Tensor& x, const Dims& axes, int64_t correction, bool keepdim) {
  return cast(sqrt(variance("std", x, axes, correction, keepdim)), x.dtype());
}

Tensor any(const Tensor& x, const Dims& axes, bool keepdim) {
  return truth(ReduceOp::kAny, "any", x, axes, keepdim);
}

Tensor all(const Tensor& x, const Dims& axes, bool keepdim) {
  return truth(ReduceOp::kAll, "all", x, axes, keepdim);
}

Tensor amax(const Tensor& x, const Dims& axes, bool keepdim) {
  return extreme(ReduceOp::kMax, "amax", x, axes, keepdim);
}

Tensor amin(const Tensor& x, const Dims& axes, bool keepdim) {
  return extreme(ReduceOp::kMin, "amin", x, axes, keepdim);
}

ValuesAndIndices max(const Tensor& x, int64_t axis, bool keepdim) {
  return reduce_indices(ReduceOp::kMax, "max", x, axis, keepdim);
}

ValuesAndIndices min(const Tensor& x, int64_t axis, bool keepdim) {
  return reduce_indices(ReduceOp::kMin, "min", x, axis, keepdim);
}

Tensor argmax(const Tensor& x, int64_t axis, bool keepdim) {
  return reduce_indices(ReduceOp::kMax, "argmax", x, axis, keepdim).indices;
}

Tensor argmin(const Tensor& x, int64_t axis, bool keepdim) {
  return reduce_indices(ReduceOp::kMin, "argmin", x, axis, keepdim).indices;
}

ValuesAndIndices topk(const Tensor& x, int64_t k, int64_t given_axis, bool largest) {
  const OpCall call("topk", x);
  check_defined("topk", "input", x);
  TAPER_CHECK(x.dim() > 0, "topk: needs a tensor with at least one dimension");
  const int64_t axis = normalize_axis(given_axis, x.dim(), "topk");
  TAPER_CHECK(k >= 0 && k <= x.size(axis), "topk: k = {} is not between 0 and {}, the size of axis {} of {}",
              k, x.size(axis), axis, x.shape());
  const auto to_back = [&](const Tensor& t) { return contiguous(views::transpose(t, axis, -1)); };
  const Tensor rows = to_back(x);
  Shape shape = rows.shape();
  shape[shape.size() - 1] = k;
  const Tensor values = empty(shape, {.dtype = x.dtype(), .device = x.device()});
  const Tensor indices = empty(shape, {.dtype = kInt64, .device = x.device()});
  if (values.numel() > 0) (x.device().is_cuda() ? topk_gpu : topk_cpu)(values, indices, rows, largest);
  return {to_back(values), to_back(indices)};
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  check_defined("sum_to", "input", x);
  if (x.shape() == shape) return x;
  const int64_t added = x.dim() - shape.size();
  TAPER_CHECK(added >= 0 && broadcast_shapes(x.shape(), shape, "sum_to") == x.shape(),
              "sum_to: shape {} does not broadcast to {}", shape, x.shape());
  Dims axes;
  for (int64_t axis = 0; axis < x.dim(); ++axis) {
    if (axis < added || (shape[axis - added] == 1 && x.size(axis) != 1)) axes.push_back(axis);
  }
  return views::view(sum(x, axes, true), shape);
}

}  // namespace taper::ops
