#include "taper/autograd/derivatives/index.h"

#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/derivatives/views.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/ops/index/join.h"

namespace taper {
namespace {

Tensor zeros_for(const Tensor& grad, const Shape& shape) {
  return zeros(shape, {.dtype = grad.dtype(), .device = grad.device()});
}

/// The parts of x, each a view that the tape knows.
std::vector<Tensor> recorded_views(const Tensor& x, const std::vector<Tensor>& parts, int64_t axis) {
  std::vector<Tensor> views;
  int64_t begin = 0;
  for (const Tensor& part : parts) {
    views.push_back(narrow(x, axis, begin, part.size(axis)));
    begin += part.size(axis);
  }
  return views;
}

}  // namespace

Tensor index_select(const Tensor& x, int64_t axis, const Tensor& index) {
  Tape tape("index_select", {x}, {{"axis", axis}, {"index", index}});
  return tape.record(ops::index_select(x, axis, index), {index},
                     [axis, shape = x.shape()](const Backward& bw) -> Grads {
                       return {index_add(zeros_for(bw.grad(), shape), axis, bw.saved(0), bw.grad())};
                     });
}

Tensor index_add(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& source) {
  if (const Autocast cast{"index_add", {x, source}}) return index_add(cast(x), axis, index, cast(source));
  Tape tape("index_add", {x, source}, {{"axis", axis}, {"index", index}});
  return tape.record(ops::index_add(x, axis, index, source), {index}, [axis](const Backward& bw) -> Grads {
    return {bw.grad(), bw.needs(1) ? index_select(bw.grad(), axis, bw.saved(0)) : Tensor()};
  });
}

Tensor gather(const Tensor& x, int64_t axis, const Tensor& index) {
  Tape tape("gather", {x}, {{"axis", axis}, {"index", index}});
  return tape.record(ops::gather(x, axis, index), {index},
                     [axis, shape = x.shape()](const Backward& bw) -> Grads {
                       return {scatter_add(zeros_for(bw.grad(), shape), axis, bw.saved(0), bw.grad())};
                     });
}

Tensor scatter_add(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& source) {
  if (const Autocast cast{"scatter_add", {x, source}}) return scatter_add(cast(x), axis, index, cast(source));
  Tape tape("scatter_add", {x, source}, {{"axis", axis}, {"index", index}});
  return tape.record(ops::scatter_add(x, axis, index, source), {index}, [axis](const Backward& bw) -> Grads {
    return {bw.grad(), bw.needs(1) ? gather(bw.grad(), axis, bw.saved(0)) : Tensor()};
  });
}

Tensor cat(const std::vector<Tensor>& tensors, int64_t axis) {
  Tape tape("cat", tensors, {{"axis", axis}});
  const Tensor result = ops::cat(tensors, axis);
  std::vector<std::pair<int64_t, DType>> parts;
  parts.reserve(tensors.size());
  for (const Tensor& x : tensors) parts.emplace_back(x.size(axis), x.dtype());
  return tape.record(result, {}, [axis, parts](const Backward& bw) -> Grads {
    Grads grads;
    int64_t begin = 0;
    for (const auto& [size, dtype] : parts) {
      grads.push_back(bw.needs(grads.size()) ? cast(narrow(bw.grad(), axis, begin, size), dtype) : Tensor());
      begin += size;
    }
    return grads;
  });
}

Tensor stack(const std::vector<Tensor>& tensors, int64_t axis) {
  Tape tape("stack", tensors, {{"axis", axis}});
  std::vector<DType> dtypes;
  dtypes.reserve(tensors.size());
  for (const Tensor& x : tensors) dtypes.push_back(x.dtype());
  return tape.record(ops::stack(tensors, axis), {}, [axis, dtypes](const Backward& bw) -> Grads {
    Grads grads;
    for (size_t i = 0; i < dtypes.size(); ++i) {
      grads.push_back(bw.needs(i) ? cast(select(bw.grad(), axis, int64_t(i)), dtypes[i]) : Tensor());
    }
    return grads;
  });
}

std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t axis) {
  return recorded_views(x, ops::split(x, size, axis), axis);
}

std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t axis) {
  return recorded_views(x, ops::split(x, sizes, axis), axis);
}

std::vector<Tensor> chunk(const Tensor& x, int64_t count, int64_t axis) {
  return recorded_views(x, ops::chunk(x, count, axis), axis);
}

Tensor flip(const Tensor& x, const Dims& axes) {
  Tape tape("flip", {x}, {{"axes", axes}});
  return tape.record(ops::flip(x, axes), {},
                     [axes](const Backward& bw) -> Grads { return {flip(bw.grad(), axes)}; });
}

Tensor pad(const Tensor& x, const std::vector<int64_t>& padding, Scalar value) {
  Tape tape("pad", {x}, {{"padding", padding}, {"value", value}});
  return tape.record(ops::pad(x, padding, value), {},
                     [padding, shape = x.shape()](const Backward& bw) -> Grads {
                       Tensor middle = bw.grad();
                       for (size_t i = 0; i < padding.size(); i += 2) {
                         const int64_t axis = shape.size() - 1 - int64_t(i / 2);
                         middle = narrow(middle, axis, padding[i], shape[axis]);
                       }
                       return {middle};
                     });
}

}  // namespace taper
