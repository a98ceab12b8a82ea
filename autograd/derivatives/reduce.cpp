#include "taper/autograd/derivatives/reduce.h"

#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/index.h"
#include "taper/autograd/derivatives/views.h"
#include "taper/autograd/tape/autocast.h"

namespace taper {
namespace {

/// A reduced tensor stretched back to the shape before the reduction.
Tensor stretch(const Tensor& reduced, const Shape& shape, const Dims& axes) {
  return expand(reshape(reduced, ops::reduced_shape(shape, axes, true)), shape);
}

int64_t count(const Shape& shape, const Dims& axes) {
  int64_t elements = 1;
  for (const int64_t axis : axes) elements *= shape[axis];
  return elements;
}

using Extreme = Tensor (*)(const Tensor&, const Dims&, bool);

Tensor extreme(const char* op, Extreme compute, const Tensor& x, const Dims& axes, bool keepdim) {
  Tape tape(op, {x}, {{"axes", axes}, {"keepdim", keepdim}});
  const Tensor y = compute(x, axes, keepdim);
  const Dims reduced = ops::normalize_axes(axes, x.dim(), op);
  return tape.record(y, {x, y}, [reduced, shape = x.shape()](const Backward& bw) -> Grads {
    const Tensor ties = cast(eq(bw.saved(0), stretch(bw.saved(1), shape, reduced)), bw.grad().dtype());
    const Tensor share = div(bw.grad(), reshape(ops::sum(ties, reduced), bw.grad().shape()));
    return {mul(ties, stretch(share, shape, reduced))};
  });
}

/// `chosen`, computed with its indices: its gradient is scattered to them.
ValuesAndIndices record_choice(Tape& tape, const ValuesAndIndices& chosen, const Tensor& x, int64_t axis,
                               bool keeps_axis) {
  axis = normalize_axis(axis, x.dim(), "max");
  const auto formula = [axis, keeps_axis, shape = x.shape()](const Backward& bw) -> Grads {
    if (shape.empty()) return {bw.grad()};
    const Tensor grad = keeps_axis ? bw.grad() : unsqueeze(bw.grad(), axis);
    const Tensor indices = keeps_axis ? bw.saved(0) : unsqueeze(bw.saved(0), axis);
    const Tensor zero = zeros(shape, {.dtype = grad.dtype(), .device = grad.device()});
    return {scatter_add(zero, axis, indices, grad)};
  };
  const auto outputs =
      tape.record(std::vector<Tensor>{chosen.values, chosen.indices}, {chosen.indices}, formula);
  return {outputs[0], outputs[1]};
}

}  // namespace

Tensor sum(const Tensor& x, const Dims& axes, bool keepdim, std::optional<DType> result_dtype) {
  // The sum reads half types as f32 anyway: not casting them is the same, without a pass.
  if (const Autocast cast{"sum", {x}}) return sum(x, axes, keepdim, result_dtype.value_or(cast.dtype()));
  Tape tape("sum", {x}, {{"axes", axes}, {"keepdim", keepdim}});
  const Dims reduced = ops::normalize_axes(axes, x.dim(), "sum");
  return tape.record(ops::sum(x, axes, keepdim, result_dtype), {},
                     [reduced, shape = x.shape()](const Backward& bw) -> Grads {
                       return {stretch(bw.grad(), shape, reduced)};
                     });
}

Tensor mean(const Tensor& x, const Dims& axes, bool keepdim) {
  Tape tape("mean", {x}, {{"axes", axes}, {"keepdim", keepdim}});
  const Dims reduced = ops::normalize_axes(axes, x.dim(), "mean");
  return tape.record(ops::mean(x, axes, keepdim), {},
                     [reduced, shape = x.shape()](const Backward& bw) -> Grads {
                       return {stretch(div(bw.grad(), double(count(shape, reduced))), shape, reduced)};
                     });
}

Tensor var(const Tensor& x, const Dims& axes, int64_t correction, bool keepdim) {
  Tape tape("var", {x}, {{"axes", axes}, {"correction", correction}, {"keepdim", keepdim}});
  const Dims reduced = ops::normalize_axes(axes, x.dim(), "var");
  return tape.record(ops::var(x, axes, correction, keepdim), {x},
                     [reduced, correction, shape = x.shape()](const Backward& bw) -> Grads {
                       const Tensor input = bw.saved(0);
                       const Tensor centred = sub(input, mean(input, reduced, true));
                       const double scale = 2.0 / double(count(shape, reduced) - correction);
                       return {mul(mul(centred, scale), stretch(bw.grad(), shape, reduced))};
                     });
}

Tensor std(const Tensor& x, const Dims& axes, int64_t correction, bool keepdim) {
  Tape tape("std", {x}, {{"axes", axes}, {"correction", correction}, {"keepdim", keepdim}});
  const Tensor y = ops::std(x, axes, correction, keepdim);
  const Dims reduced = ops::normalize_axes(axes, x.dim(), "std");
  return tape.record(y, {x, y}, [reduced, correction, shape = x.shape()](const Backward& bw) -> Grads {
    const Tensor input = bw.saved(0), deviation = bw.saved(1);
    const auto degrees = double(count(shape, reduced) - correction);
    const Tensor scale = where(eq(deviation, 0), 0.0, div(bw.grad(), mul(deviation, degrees)));
    return {mul(sub(input, mean(input, reduced, true)), stretch(scale, shape, reduced))};
  });
}

Tensor norm(const Tensor& x, const Dims& axes, bool keepdim) {
  if (const Autocast cast{"norm", {x}}) return norm(cast(x), axes, keepdim);
  Tape tape("norm", {x}, {{"axes", axes}, {"keepdim", keepdim}});
  const Tensor y = ops::norm(x, axes, keepdim);
  const Dims reduced = ops::normalize_axes(axes, x.dim(), "norm");
  return tape.record(y, {x, y}, [reduced, shape = x.shape()](const Backward& bw) -> Grads {
    const Tensor length = bw.saved(1);
    const Tensor scale = where(eq(length, 0), 0.0, div(bw.grad(), length));
    return {mul(bw.saved(0), stretch(scale, shape, reduced))};
  });
}

Tensor amax(const Tensor& x, const Dims& axes, bool keepdim) {
  return extreme("amax", ops::amax, x, axes, keepdim);
}
Tensor amin(const Tensor& x, const Dims& axes, bool keepdim) {
  return extreme("amin", ops::amin, x, axes, keepdim);
}

ValuesAndIndices max(const Tensor& x, int64_t axis, bool keepdim) {
  Tape tape("max", {x}, {{"axis", axis}, {"keepdim", keepdim}});
  return record_choice(tape, ops::max(x, axis, keepdim), x, axis, keepdim);
}

ValuesAndIndices min(const Tensor& x, int64_t axis, bool keepdim) {
  Tape tape("min", {x}, {{"axis", axis}, {"keepdim", keepdim}});
  return record_choice(tape, ops::min(x, axis, keepdim), x, axis, keepdim);
}

ValuesAndIndices topk(const Tensor& x, int64_t k, int64_t axis, bool largest) {
  Tape tape("topk", {x}, {{"k", k}, {"axis", axis}, {"largest", largest}});
  return record_choice(tape, ops::topk(x, k, axis, largest), x, axis, true);
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  Tape tape("sum_to", {x}, {{"shape", shape}});
  return tape.record(ops::sum_to(x, shape), {},
                     [from = x.shape()](const Backward& bw) -> Grads { return {expand(bw.grad(), from)}; });
}

}  // namespace taper
