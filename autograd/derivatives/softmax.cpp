#include "taper/autograd/derivatives/softmax.h"

#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/ops/softmax/softmax.h"

namespace taper {

// With y = softmax(x): dx = y * (g - sum(g * y)). Half types are widened first, to round once at the end.
Tensor softmax(const Tensor& x, int64_t axis) {
  if (const Autocast cast{"softmax", {x}}) return softmax(cast(x), axis);
  Tape tape("softmax", {x}, {{"axis", axis}});
  const Tensor result = ops::softmax(x, axis);
  return tape.record(result, {result}, [axis](const Backward& bw) -> Grads {
    const DType dtype = bw.grad().dtype();
    const Tensor y = cast(bw.saved(0), compute_dtype(dtype));
    const Tensor gy = mul(cast(bw.grad(), compute_dtype(dtype)), y);
    return {cast(sub(gy, mul(y, sum(gy, {axis}, true))), dtype)};
  });
}

// With y = log_softmax(x): dx = g - exp(y) * sum(g).
Tensor log_softmax(const Tensor& x, int64_t axis) {
  if (const Autocast cast{"log_softmax", {x}}) return log_softmax(cast(x), axis);
  Tape tape("log_softmax", {x}, {{"axis", axis}});
  const Tensor result = ops::log_softmax(x, axis);
  return tape.record(result, {result}, [axis](const Backward& bw) -> Grads {
    const DType dtype = bw.grad().dtype();
    const Tensor p = exp(cast(bw.saved(0), compute_dtype(dtype)));
    const Tensor g = cast(bw.grad(), compute_dtype(dtype));
    return {cast(sub(g, mul(p, sum(g, {axis}, true))), dtype)};
  });
}

}  // namespace taper
