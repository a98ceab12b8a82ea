#include "taper/autograd/derivatives/views.h"

#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/tape/tape.h"
#include "taper/core/views.h"
#include "taper/ops/copy/create.h"

namespace taper {
namespace {

/// Puts `grad` where slice() read, zeros elsewhere: the derivative of slice, and linear in grad itself.
Tensor slice_backward(const Tensor& grad, const Shape& shape, int64_t axis, int64_t begin, int64_t end,
                      int64_t step) {
  Tape tape("slice_backward", {grad},
            {{"shape", shape}, {"axis", axis}, {"begin", begin}, {"end", end, INT64_MAX}, {"step", step, 1}});
  Tensor result = ops::zeros(shape, {.dtype = grad.dtype(), .device = grad.device()});
  ops::copy_(views::slice(result, axis, begin, end, step), grad);
  return tape.record(result, {},
                     [=](const Backward& bw) -> Grads { return {slice(bw.grad(), axis, begin, end, step)}; });
}

}  // namespace

Tensor view(const Tensor& x, const Shape& shape) {
  Tape tape("view", {x}, {{"shape", shape}});
  return tape.record_view(x, views::view(x, shape), [from = x.shape()](const Backward& bw) -> Grads {
    return {reshape(bw.grad(), from)};
  });
}

Tensor reshape(const Tensor& x, const Shape& shape) {
  const Shape full = views::infer_shape(x, shape, "reshape");
  return view(views::can_view(x, full) ? x : contiguous(x), full);
}

Tensor flatten(const Tensor& x, int64_t first, int64_t last) {
  first = normalize_axis(first, x.dim(), "flatten");
  last = normalize_axis(last, x.dim(), "flatten");
  TAPER_CHECK(first <= last, "flatten: first axis {} comes after last axis {}", first, last);
  Shape shape;
  for (int64_t axis = 0; axis < std::max<int64_t>(x.dim(), 1); ++axis) {
    const int64_t size = x.dim() == 0 ? 1 : x.shape()[axis];
    if (axis > first && axis <= last)
      shape[shape.size() - 1] *= size;
    else
      shape.push_back(size);
  }
  return reshape(x, shape);
}

Tensor permute(const Tensor& x, const Dims& axes) {
  Tape tape("permute", {x}, {{"axes", axes}});
  const Tensor y = views::permute(x, axes);
  Dims inverse = axes;
  for (int64_t i = 0; i < axes.size(); ++i) inverse[normalize_axis(axes[i], x.dim(), "permute")] = i;
  return tape.record_view(x, y,
                          [inverse](const Backward& bw) -> Grads { return {permute(bw.grad(), inverse)}; });
}

Tensor transpose(const Tensor& x, int64_t a, int64_t b) {
  Tape tape("transpose", {x}, {{"a", a}, {"b", b}});
  return tape.record_view(x, views::transpose(x, a, b),
                          [a, b](const Backward& bw) -> Grads { return {transpose(bw.grad(), a, b)}; });
}

Tensor squeeze(const Tensor& x, int64_t axis) {
  Tape tape("squeeze", {x}, {{"axis", axis}});
  return tape.record_view(x, views::squeeze(x, axis), [from = x.shape()](const Backward& bw) -> Grads {
    return {reshape(bw.grad(), from)};
  });
}

Tensor squeeze(const Tensor& x) {
  Shape shape;
  for (const int64_t size : x.shape()) {
    if (size != 1) shape.push_back(size);
  }
  return view(x, shape);
}

Tensor unsqueeze(const Tensor& x, int64_t axis) {
  Tape tape("unsqueeze", {x}, {{"axis", axis}});
  return tape.record_view(x, views::unsqueeze(x, axis), [from = x.shape()](const Backward& bw) -> Grads {
    return {reshape(bw.grad(), from)};
  });
}

Tensor expand(const Tensor& x, const Shape& shape) {
  Tape tape("expand", {x}, {{"shape", shape}});
  return tape.record_view(x, views::expand(x, shape), [from = x.shape()](const Backward& bw) -> Grads {
    return {sum_to(bw.grad(), from)};
  });
}

Tensor slice(const Tensor& x, int64_t axis, int64_t begin, int64_t end, int64_t step) {
  Tape tape("slice", {x}, {{"axis", axis}, {"begin", begin}, {"end", end, INT64_MAX}, {"step", step, 1}});
  return tape.record_view(x, views::slice(x, axis, begin, end, step),
                          [=, from = x.shape()](const Backward& bw) -> Grads {
                            return {slice_backward(bw.grad(), from, axis, begin, end, step)};
                          });
}

Tensor narrow(const Tensor& x, int64_t axis, int64_t begin, int64_t length) {
  views::narrow(x, axis, begin, length);  // checks
  return slice(x, axis, begin, begin + length);
}

Tensor select(const Tensor& x, int64_t axis, int64_t index) {
  views::select(x, axis, index);  // checks
  if (index < 0) index += x.size(axis);
  axis = normalize_axis(axis, x.dim(), "select");
  return squeeze(slice(x, axis, index, index + 1), axis);
}

}  // namespace taper
