#include "taper/autograd/conv.h"

#include "taper/autograd/elementwise.h"
#include "taper/autograd/reduce.h"
#include "taper/autograd/tape.h"

namespace taper {

namespace {

/// Saved: x, weight.
Grads linear_gradients(const Backward& bw, const Shape& input_shape, const Shape& weight_shape,
                       const Conv2dOptions& options) {
  const Tensor g = bw.grad();
  return {bw.needs(0) ? conv2d_backward_input(g, bw.saved(1), input_shape, options) : Tensor(),
          bw.needs(1) ? conv2d_backward_weight(g, bw.saved(0), weight_shape, options) : Tensor()};
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options) {
  Tape tape("conv2d", {x, weight, bias});
  return tape.record(
      ops::conv2d(x, weight, bias, options), {x, weight},
      [options, input_shape = x.shape(), weight_shape = weight.shape()](const Backward& bw) -> Grads {
        Grads grads = linear_gradients(bw, input_shape, weight_shape, options);
        grads.push_back(bw.needs(2) ? sum(bw.grad(), {0, 2, 3}) : Tensor());
        return grads;
      });
}

Conv2dMoments conv2d_moments(const Tensor& x, const Tensor& weight, const Conv2dOptions& options) {
  Tape tape("conv2d", {x, weight});
  Conv2dMoments result = ops::conv2d_moments(x, weight, options);
  result.y = tape.record(
      result.y, {x, weight},
      [options, input_shape = x.shape(), weight_shape = weight.shape()](const Backward& bw) -> Grads {
        return linear_gradients(bw, input_shape, weight_shape, options);
      });
  return result;
}

Tensor conv2d_fused(const Tensor& x, const Tensor& weight, const Conv2dEpilogue& epilogue,
                    const Conv2dOptions& options) {
  Tape tape("conv2d_fused", {x, weight, epilogue.bias, epilogue.residual});
  const Tensor y = ops::conv2d_fused(x, weight, epilogue, options);
  return tape.record(
      y, {x, weight, epilogue.relu ? y : Tensor()},
      [options, relu = epilogue.relu, input_shape = x.shape(),
       weight_shape = weight.shape()](const Backward& bw) -> Grads {
        const Tensor g = relu ? relu_backward(bw.grad(), bw.saved(2)) : bw.grad();
        return {bw.needs(0) ? conv2d_backward_input(g, bw.saved(1), input_shape, options) : Tensor(),
                bw.needs(1) ? conv2d_backward_weight(g, bw.saved(0), weight_shape, options) : Tensor(),
                bw.needs(2) ? sum(g, {0, 2, 3}) : Tensor(), bw.needs(3) ? g : Tensor()};
      });
}

Tensor conv2d_backward_input(const Tensor& grad, const Tensor& weight, const Shape& input_shape,
                             const Conv2dOptions& options) {
  Tape tape("conv2d_backward_input", {grad, weight});
  return tape.record(
      ops::conv2d_backward_input(grad, weight, input_shape, options), {grad, weight},
      [options, weight_shape = weight.shape()](const Backward& bw) -> Grads {
        const Tensor x = bw.grad();
        return {bw.needs(0) ? conv2d(x, bw.saved(1), {}, options) : Tensor(),
                bw.needs(1) ? conv2d_backward_weight(bw.saved(0), x, weight_shape, options) : Tensor()};
      });
}

Tensor conv2d_backward_weight(const Tensor& grad, const Tensor& x, const Shape& weight_shape,
                              const Conv2dOptions& options) {
  Tape tape("conv2d_backward_weight", {grad, x});
  return tape.record(
      ops::conv2d_backward_weight(grad, x, weight_shape, options), {grad, x},
      [options, input_shape = x.shape()](const Backward& bw) -> Grads {
        const Tensor weight = bw.grad();
        return {bw.needs(0) ? conv2d(bw.saved(1), weight, {}, options) : Tensor(),
                bw.needs(1) ? conv2d_backward_input(bw.saved(0), weight, input_shape, options) : Tensor()};
      });
}

}  // namespace taper
