#include "taper/ops/matmul/matmul.h"  // spine 21 (docs/0-the-spine.md)

#include "taper/core/views.h"
#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/matmul/matmul_cpu.h"
#include "taper/ops/matmul/matmul_gpu.h"
#include "taper/ops/op_call.h"

namespace taper::ops {
namespace {

void check_operands(std::string_view op, const Tensor& a, const Tensor& b) {
  check_defined(op, "first operand", a);
  check_defined(op, "second operand", b);
  check_floating_point(op, a);
  check_same_device(op, a, b);
  TAPER_CHECK(a.dtype() == b.dtype(),
              "{}: operands must have one dtype, got {} and {}; convert one with .to()", op, a.dtype(),
              b.dtype());
}

/// Returns x, copied if neither rows nor columns are contiguous.
Tensor as_operand(const Tensor& x) {
  return is_matrix_layout(x) ? x : contiguous(x);
}

Shape with_matrix(Shape batch, int64_t rows, int64_t cols) {
  batch.push_back(rows);
  batch.push_back(cols);
  return batch;
}

Shape batch_of(const Tensor& x) {
  return Shape(std::span(x.shape().begin(), size_t(x.dim() - 2)));
}

/// a and b have at least two dimensions. dtype: of the result, as checked_result_dtype() allows.
Tensor multiply(std::string_view op, const Tensor& a, const Tensor& b, DType dtype) {
  const int64_t m = a.size(-2), k = a.size(-1), n = b.size(-1);
  TAPER_CHECK(b.size(-2) == k, "{}: {} x {} does not fit: the first has {} columns, the second {} rows", op,
              a.shape(), b.shape(), k, b.size(-2));
  // A stack of matrices times one matrix is one tall product.
  if (b.dim() == 2 && a.dim() > 2 && views::can_view(a, {a.numel() / std::max<int64_t>(k, 1), k}) && k > 0) {
    Shape shape = a.shape();
    shape[a.dim() - 1] = n;
    return views::view(multiply(op, views::view(a, {a.numel() / k, k}), b, dtype), shape);
  }
  const Shape batch = broadcast_shapes(batch_of(a), batch_of(b), op);
  const Tensor c = empty(with_matrix(batch, m, n), {.dtype = dtype, .device = a.device()});
  const Tensor all_a = views::expand(as_operand(a), with_matrix(batch, m, k));
  const Tensor all_b = views::expand(as_operand(b), with_matrix(batch, k, n));
  c.device().is_cuda() ? matmul_gpu(all_a, all_b, c) : matmul_cpu(all_a, all_b, 0, c);
  return c;
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, std::optional<DType> result_dtype) {
  const OpCall call("matmul", a, b);
  check_operands("matmul", a, b);
  TAPER_CHECK(a.dim() > 0 && b.dim() > 0,
              "matmul: operands need at least one dimension, got {} and {}; use mul", a.shape(), b.shape());
  const Tensor left = a.dim() == 1 ? views::unsqueeze(a, 0) : a;
  const Tensor right = b.dim() == 1 ? views::unsqueeze(b, 1) : b;
  Tensor c = multiply("matmul", left, right, checked_result_dtype("matmul", a.dtype(), result_dtype));
  if (a.dim() == 1) c = views::squeeze(c, -2);
  if (b.dim() == 1) c = views::squeeze(c, -1);
  return c;
}

Tensor bmm(const Tensor& a, const Tensor& b) {
  const OpCall call("bmm", a, b);
  check_operands("bmm", a, b);
  TAPER_CHECK(a.dim() == 3 && b.dim() == 3 && a.size(0) == b.size(0),
              "bmm: needs [B, M, K] and [B, K, N] of one B, got {} and {}; matmul broadcasts", a.shape(),
              b.shape());
  return multiply("bmm", a, b, a.dtype());
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return linear_fused(x, weight, bias, Activation::kNone);
}

Tensor linear_fused(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation) {
  const OpCall call("linear", x, weight, bias);
  check_operands("linear", x, weight);
  TAPER_CHECK(weight.dim() == 2, "linear: weight must be [out, in], got {}", weight.shape());
  const int64_t out = weight.size(0), in = weight.size(1);
  TAPER_CHECK(x.dim() > 0 && x.size(-1) == in, "linear: weight {} takes {} features but the input is {}",
              weight.shape(), in, x.shape());
  Shape shape = x.shape();
  shape[x.dim() - 1] = out;
  const int64_t rows = numel(shape) / std::max<int64_t>(out, 1);

  const Tensor y = empty({rows, out}, {.dtype = x.dtype(), .device = x.device()});
  if (bias.defined()) {
    check_operands("linear", x, bias);
    TAPER_CHECK(bias.shape() == Shape{out}, "linear: bias must be [{}], got {}", out, bias.shape());
  }
  const Tensor x_rows = views::view(contiguous(x), {rows, in});
  const Tensor filters = as_operand(weight);
  if (x.device().is_cuda()) {
    linear_gpu(x_rows, filters, bias.defined() ? contiguous(bias) : bias, activation, y);
  } else {
    if (bias.defined()) copy_(y, bias);
    matmul_cpu(x_rows, views::transpose(filters, 0, 1), bias.defined() ? 1 : 0, y);
    if (activation == Activation::kRelu) relu_(y);
    if (activation == Activation::kGeluTanh) gelu_tanh_(y);
  }
  return views::view(y, shape);
}

}  // namespace taper::ops
