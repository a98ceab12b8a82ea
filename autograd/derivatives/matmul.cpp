#include "taper/autograd/derivatives/matmul.h"

#include <algorithm>

#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/ops/matmul/matmul.h"

namespace taper {
namespace {

/// [..., n] as [rows, n].
Tensor as_rows(const Tensor& x, int64_t n) {
  return x.reshape({x.numel() / std::max<int64_t>(n, 1), n});
}

/// The gradients of a b for operands of two or more dimensions, summed over batch axes that were broadcast.
Grads product_gradients(const Backward& bw) {
  const Tensor a = bw.saved(0), b = bw.saved(1);
  const Tensor grad = cast(bw.grad(), a.dtype());  // an f32 product of half factors is multiplied as half
  return {bw.needs(0) ? sum_to(matmul(grad, b.transpose(-2, -1), bw.wanted_dtype(0)), a.shape()) : Tensor(),
          bw.needs(1) ? sum_to(matmul(a.transpose(-2, -1), grad, bw.wanted_dtype(1)), b.shape()) : Tensor()};
}

Grads linear_gradients(const Backward& bw, const Tensor& grad_y) {
  const Tensor x = bw.saved(0), weight = bw.saved(1);
  const Tensor grad = as_rows(grad_y, weight.size(0));
  return {
      bw.needs(0) ? matmul(grad, weight).reshape(x.shape()) : Tensor(),
      bw.needs(1) ? matmul(grad.transpose(0, 1), as_rows(x, weight.size(1)), bw.wanted_dtype(1)) : Tensor(),
      bw.needs(2) ? sum(grad, {0}, false, bw.wanted_dtype(2)) : Tensor()};
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, std::optional<DType> result_dtype) {
  if (const Autocast cast{"matmul", {a, b}}) return matmul(cast(a), cast(b), result_dtype);
  // Vectors, and stacks of matrices that meet one matrix, by way of views, so that the formula sees matrices
  // and the gradient of a lone matrix needs no sum over the stack.
  const bool valid = a.defined() && b.defined() && a.dim() > 0 && b.dim() > 0;
  if (valid && a.dim() == 1) return matmul(a.unsqueeze(0), b, result_dtype).squeeze(b.dim() == 1 ? 0 : -2);
  if (valid && b.dim() == 1) return matmul(a, b.unsqueeze(1), result_dtype).squeeze(-1);
  if (valid && a.dim() > 2 && b.dim() == 2 && a.size(-1) == b.size(0)) {
    Shape shape = a.shape();
    shape[a.dim() - 1] = b.size(1);
    return matmul(as_rows(a, a.size(-1)), b, result_dtype).view(shape);
  }
  Tape tape("matmul", {a, b});
  return tape.record(ops::matmul(a, b, result_dtype), {a, b}, product_gradients);
}

Tensor bmm(const Tensor& a, const Tensor& b) {
  if (const Autocast cast{"bmm", {a, b}}) return bmm(cast(a), cast(b));
  Tape tape("bmm", {a, b});
  return tape.record(ops::bmm(a, b), {a, b}, product_gradients);
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return linear_fused(x, weight, bias, Activation::kNone);
}

Tensor linear_fused(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation) {
  if (const Autocast cast{"linear", {x, weight, bias}})
    return linear_fused(cast(x), cast(weight), cast(bias), activation);
  if (activation == Activation::kGeluTanh && Tape::would_record({x, weight, bias}))
    return gelu_tanh(linear(x, weight, bias));
  const bool has_activation = activation != Activation::kNone;
  Tape tape("linear", {x, weight, bias},
            {{"activation", has_activation ? std::optional(name(activation)) : std::nullopt}});
  const Tensor y = ops::linear_fused(x, weight, bias, activation);
  if (activation == Activation::kNone)
    return tape.record(y, {x, weight},
                       [](const Backward& bw) -> Grads { return linear_gradients(bw, bw.grad()); });
  return tape.record(y, {x, weight, y}, [](const Backward& bw) -> Grads {
    return linear_gradients(bw, relu_backward(bw.grad(), bw.saved(2)));
  });
}

}  // namespace taper
