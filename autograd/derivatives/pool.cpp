#include "taper/autograd/derivatives/pool.h"

#include "taper/autograd/tape/tape.h"

namespace taper {

static void list_options(const MaxPool2dOptions& options, OptionList& list) {
  list.add("kernel", options.kernel);
  list.add("stride", options.stride);
  list.add("padding", options.padding);
  list.add("dilation", options.dilation);
  list.add("ceil_mode", options.ceil_mode);
}

static void list_options(const AvgPool2dOptions& options, OptionList& list) {
  list.add("kernel", options.kernel);
  list.add("stride", options.stride);
  list.add("padding", options.padding);
  list.add("ceil_mode", options.ceil_mode);
  list.add("count_include_pad", options.count_include_pad);
}

namespace {

Tensor record_maxima(Tape& tape, const ops::MaxPool2dOutput& maxima, const Shape& input_shape,
                     const MaxPool2dOptions& options) {
  return tape.record(maxima.y, {maxima.indices}, [shape = input_shape, options](const Backward& bw) -> Grads {
    return {max_pool2d_backward(bw.grad(), bw.saved(0), shape, options)};
  });
}

}  // namespace

Tensor max_pool2d(const Tensor& x, const MaxPool2dOptions& options) {
  Tape tape("max_pool2d", {x}, {options});
  if (!tape.recording()) return tape.record(ops::max_pool2d_values(x, options), {}, nullptr);
  return record_maxima(tape, ops::max_pool2d(x, options), x.shape(), options);
}

ops::MaxPool2dOutput max_pool2d_with_indices(const Tensor& x, const MaxPool2dOptions& options) {
  Tape tape("max_pool2d", {x}, {options});
  const ops::MaxPool2dOutput maxima = ops::max_pool2d(x, options);
  return {record_maxima(tape, maxima, x.shape(), options), maxima.indices};
}

Tensor max_pool2d_backward(const Tensor& grad, const Tensor& indices, const Shape& input_shape,
                           const MaxPool2dOptions& options) {
  Tape tape("max_pool2d_backward", {grad}, {options, {"input_shape", input_shape}, {"indices", indices}});
  return tape.record(ops::max_pool2d_backward(grad, indices, input_shape, options), {indices},
                     [options](const Backward& bw) -> Grads {
                       return {max_pool2d_gather(bw.grad(), bw.saved(0), options)};
                     });
}

Tensor max_pool2d_gather(const Tensor& x, const Tensor& indices, const MaxPool2dOptions& options) {
  Tape tape("max_pool2d_gather", {x}, {{"indices", indices}});
  return tape.record(ops::max_pool2d_gather(x, indices), {indices},
                     [shape = x.shape(), options](const Backward& bw) -> Grads {
                       return {max_pool2d_backward(bw.grad(), bw.saved(0), shape, options)};
                     });
}

Tensor avg_pool2d(const Tensor& x, const AvgPool2dOptions& options) {
  Tape tape("avg_pool2d", {x}, {options});
  return tape.record(ops::avg_pool2d(x, options), {},
                     [shape = x.shape(), options](const Backward& bw) -> Grads {
                       return {avg_pool2d_backward(bw.grad(), shape, options)};
                     });
}

Tensor avg_pool2d_backward(const Tensor& grad, const Shape& input_shape, const AvgPool2dOptions& options) {
  Tape tape("avg_pool2d_backward", {grad}, {options, {"input_shape", input_shape}});
  return tape.record(ops::avg_pool2d_backward(grad, input_shape, options), {},
                     [options](const Backward& bw) -> Grads { return {avg_pool2d(bw.grad(), options)}; });
}

Tensor adaptive_avg_pool2d(const Tensor& x, IntPair output_size) {
  Tape tape("adaptive_avg_pool2d", {x}, {{"output_size", output_size}});
  return tape.record(ops::adaptive_avg_pool2d(x, output_size), {},
                     [shape = x.shape()](const Backward& bw) -> Grads {
                       return {adaptive_avg_pool2d_backward(bw.grad(), shape)};
                     });
}

Tensor adaptive_avg_pool2d_backward(const Tensor& grad, const Shape& input_shape) {
  Tape tape("adaptive_avg_pool2d_backward", {grad}, {{"input_shape", input_shape}});
  return tape.record(ops::adaptive_avg_pool2d_backward(grad, input_shape), {},
                     [size = IntPair(grad.size(2), grad.size(3))](const Backward& bw) -> Grads {
                       return {adaptive_avg_pool2d(bw.grad(), size)};
                     });
}

}  // namespace taper
