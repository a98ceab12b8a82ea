#include "taper/autograd/derivatives/conv.h"  // spine 46 (docs/0-the-spine.md)

#include <optional>

#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/tape/autocast.h"

namespace taper {

static void list_options(const Conv2dOptions& options, OptionList& list) {
  list.add("stride", options.stride);
  list.add("padding", options.padding);
  list.add("dilation", options.dilation);
  list.add("groups", options.groups);
}

namespace {

/// Returns a parameter [C] in a shape that broadcasts along the images x, in the dtype of x.
Tensor channels_along(const Tensor& parameter, const Tensor& x) {
  return cast(parameter.reshape({1, parameter.size(0), 1, 1}), x.dtype());
}

/// The first inputs of a convolution, and the first tensors that it saves, in this order.
enum Factor : size_t { kFactorX, kFactorWeight, kFactorScale, kFactorShift };

struct ForwardShapes {
  Conv2dOptions options;
  Shape input, weight;
};

/// Returns the gradients of conv2d(x, weight) with respect to x and weight; `grad` is the result's.
Grads factor_gradients(const Backward& bw, const Tensor& grad, const ForwardShapes& of) {
  return {bw.needs(kFactorX) ? conv2d_backward_input(grad, bw.saved(kFactorWeight), of.input, of.options)
                             : Tensor(),
          bw.needs(kFactorWeight) ? conv2d_backward_weight(grad, bw.saved(kFactorX), of.weight, of.options,
                                                           bw.wanted_dtype(kFactorWeight))
                                  : Tensor()};
}

/// Returns the gradients of conv2d(relu(x * scale + shift), weight) with respect to its four tensors. The
/// ReLU's result was not kept and is computed again.
Grads prologue_gradients(const Backward& bw, const Tensor& grad, const ForwardShapes& of, bool relu) {
  const Tensor x = bw.saved(kFactorX), scale = channels_along(bw.saved(kFactorScale), x);
  Tensor input = x * scale + channels_along(bw.saved(kFactorShift), x);
  if (relu) input = taper::relu(input);
  Grads grads(4);
  if (bw.needs(kFactorWeight))
    grads[kFactorWeight] =
        conv2d_backward_weight(grad, input, of.weight, of.options, bw.wanted_dtype(kFactorWeight));
  if (!bw.needs(kFactorX) && !bw.needs(kFactorScale) && !bw.needs(kFactorShift)) return grads;
  Tensor grad_input = conv2d_backward_input(grad, bw.saved(kFactorWeight), of.input, of.options);
  if (relu) grad_input = relu_backward(grad_input, input);
  if (bw.needs(kFactorX)) grads[kFactorX] = grad_input * scale;
  if (bw.needs(kFactorScale))
    grads[kFactorScale] = cast(sum(grad_input * x, {0, 2, 3}), bw.saved(kFactorScale).dtype());
  if (bw.needs(kFactorShift))
    grads[kFactorShift] = cast(sum(grad_input, {0, 2, 3}), bw.saved(kFactorShift).dtype());
  return grads;
}

/// Returns the gradients with respect to x, weight, scale and shift.
Grads forward_gradients(const Backward& bw, const Tensor& grad, const ForwardShapes& of,
                        const std::optional<bool>& prologue_relu) {
  if (prologue_relu) return prologue_gradients(bw, grad, of, *prologue_relu);
  Grads grads = factor_gradients(bw, grad, of);
  grads.resize(4);
  return grads;
}

/// Returns the gradient of input `index`, a bias. `grad` is the result's.
Tensor bias_gradient(const Backward& bw, const Tensor& grad, size_t index) {
  return bw.needs(index) ? sum(grad, {0, 2, 3}, false, bw.wanted_dtype(index)) : Tensor();
}

std::optional<bool> relu_of(const Conv2dPrologue& prologue) {
  return prologue.scale.defined() ? std::optional(prologue.relu) : std::nullopt;
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options) {
  if (const Autocast cast{"conv2d", {x, weight, bias}})
    return conv2d(cast(x), cast(weight), cast(bias), options);
  Tape tape("conv2d", {x, weight, bias}, {options});
  return tape.record(ops::conv2d(x, weight, bias, options), {x, weight},
                     [of = ForwardShapes{options, x.shape(), weight.shape()}](const Backward& bw) -> Grads {
                       Grads grads = factor_gradients(bw, bw.grad(), of);
                       grads.push_back(bias_gradient(bw, bw.grad(), 2));
                       return grads;
                     });
}

Conv2dMoments conv2d_moments(const Tensor& x, const Tensor& weight, const Conv2dOptions& options,
                             const Conv2dPrologue& prologue) {
  if (const Autocast cast{"conv2d", {x, weight}})
    return conv2d_moments(cast(x), cast(weight), options, prologue);
  Tape tape("conv2d", {x, weight, prologue.scale, prologue.shift},
            {options, {"prologue_relu", relu_of(prologue)}});
  Conv2dMoments result = ops::conv2d_moments(x, weight, options, prologue);
  result.y =
      tape.record(result.y, {x, weight, prologue.scale, prologue.shift},
                  [of = ForwardShapes{options, x.shape(), weight.shape()}, relu = relu_of(prologue)](
                      const Backward& bw) -> Grads { return forward_gradients(bw, bw.grad(), of, relu); });
  return result;
}

Tensor conv2d_fused(const Tensor& x, const Tensor& weight, const Conv2dEpilogue& epilogue,
                    const Conv2dOptions& options, const Conv2dPrologue& prologue) {
  const auto& [bias, residual, relu] = epilogue;
  if (const Autocast cast{"conv2d_fused", {x, weight, bias, residual}}) {
    return conv2d_fused(cast(x), cast(weight), {.bias = cast(bias), .residual = cast(residual), .relu = relu},
                        options, prologue);
  }
  const auto& [scale, shift, prologue_relu] = prologue;
  Tape tape("conv2d_fused", {x, weight, scale, shift, bias, residual},
            {options, {"prologue_relu", relu_of(prologue)}, {"relu", relu}});
  const Tensor y = ops::conv2d_fused(x, weight, epilogue, options, prologue);
  return tape.record(y, {x, weight, scale, shift, relu ? y : Tensor()},
                     [of = ForwardShapes{options, x.shape(), weight.shape()}, relu = relu,
                      input_relu = relu_of(prologue)](const Backward& bw) -> Grads {
                       const Tensor g = relu ? relu_backward(bw.grad(), bw.saved(4)) : bw.grad();
                       Grads grads = forward_gradients(bw, g, of, input_relu);
                       grads.push_back(bias_gradient(bw, g, 4));
                       grads.push_back(bw.needs(5) ? g : Tensor());
                       return grads;
                     });
}

Tensor conv2d_backward_input(const Tensor& grad, const Tensor& weight, const Shape& input_shape,
                             const Conv2dOptions& options) {
  Tape tape("conv2d_backward_input", {grad, weight}, {options, {"input_shape", input_shape}});
  return tape.record(
      ops::conv2d_backward_input(grad, weight, input_shape, options), {grad, weight},
      [options, weight_shape = weight.shape()](const Backward& bw) -> Grads {
        const Tensor x = bw.grad();
        return {bw.needs(0) ? conv2d(x, bw.saved(1), {}, options) : Tensor(),
                bw.needs(1) ? conv2d_backward_weight(bw.saved(0), x, weight_shape, options) : Tensor()};
      });
}

Tensor conv2d_backward_weight(const Tensor& grad, const Tensor& x, const Shape& weight_shape,
                              const Conv2dOptions& options, std::optional<DType> weight_dtype) {
  Tape tape("conv2d_backward_weight", {grad, x}, {options, {"weight_shape", weight_shape}});
  return tape.record(
      ops::conv2d_backward_weight(grad, x, weight_shape, options, weight_dtype), {grad, x},
      [options, input_shape = x.shape(), dtype = x.dtype()](const Backward& bw) -> Grads {
        const Tensor weight = cast(bw.grad(), dtype);  // f32 products of half factors are multiplied as half
        return {bw.needs(0) ? conv2d(bw.saved(1), weight, {}, options) : Tensor(),
                bw.needs(1) ? conv2d_backward_input(bw.saved(0), weight, input_shape, options) : Tensor()};
      });
}

}  // namespace taper
