#pragma once
// Differentiable arithmetic on each element by itself; shapes, dtypes and errors as documented with the ops
// of the same names in ops/elementwise/elementwise.h. Gradients of broadcast operands are summed back to the
// operand's shape. PyTorch's counterpart: derivatives.yaml.

#include <optional>

#include "taper/core/tensor.h"
#include "taper/ops/elementwise/elementwise.h"

namespace taper {

// ---- Arithmetic ----

Tensor add(const Tensor& a, const Tensor& b, Scalar alpha = 1);
Tensor add(const Tensor& a, Scalar b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, Scalar b);
Tensor sub(Scalar a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, Scalar b);
Tensor div(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, Scalar b);
Tensor div(Scalar a, const Tensor& b);
/// The gradient of the exponent is 0 where a is 0 and b >= 0, as PyTorch has it.
Tensor pow(const Tensor& a, const Tensor& b);
Tensor pow(const Tensor& a, Scalar b);
Tensor pow(Scalar a, const Tensor& b);
/// Equal operands share the gradient.
Tensor maximum(const Tensor& a, const Tensor& b);
Tensor minimum(const Tensor& a, const Tensor& b);
Tensor lerp(const Tensor& a, const Tensor& b, double weight);
/// The gradient passes where low <= x <= high.
Tensor clamp(const Tensor& x, std::optional<Scalar> low, std::optional<Scalar> high = {});

inline Tensor operator+(const Tensor& a, const Tensor& b) {
  return add(a, b);
}
inline Tensor operator+(const Tensor& a, Scalar b) {
  return add(a, b);
}
inline Tensor operator+(Scalar a, const Tensor& b) {
  return add(b, a);
}
inline Tensor operator-(const Tensor& a, const Tensor& b) {
  return sub(a, b);
}
inline Tensor operator-(const Tensor& a, Scalar b) {
  return sub(a, b);
}
inline Tensor operator-(Scalar a, const Tensor& b) {
  return sub(a, b);
}
inline Tensor operator*(const Tensor& a, const Tensor& b) {
  return mul(a, b);
}
inline Tensor operator*(const Tensor& a, Scalar b) {
  return mul(a, b);
}
inline Tensor operator*(Scalar a, const Tensor& b) {
  return mul(b, a);
}
inline Tensor operator/(const Tensor& a, const Tensor& b) {
  return div(a, b);
}
inline Tensor operator/(const Tensor& a, Scalar b) {
  return div(a, b);
}
inline Tensor operator/(Scalar a, const Tensor& b) {
  return div(a, b);
}

// ---- Functions of one tensor ----

Tensor neg(const Tensor& x);
inline Tensor operator-(const Tensor& x) {
  return neg(x);
}
Tensor abs(const Tensor& x);  ///< The gradient at 0 is 0.
Tensor square(const Tensor& x);
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor log1p(const Tensor& x);
Tensor sqrt(const Tensor& x);
Tensor rsqrt(const Tensor& x);
Tensor reciprocal(const Tensor& x);
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);
Tensor erf(const Tensor& x);

// ---- Activations ----

Tensor relu(const Tensor& x);  ///< The gradient at 0 is 0.
/// 0 where y <= 0, else grad.
Tensor relu_backward(const Tensor& grad, const Tensor& y);
Tensor leaky_relu(const Tensor& x, double slope = 0.01);
Tensor sigmoid(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor gelu(const Tensor& x);
Tensor gelu_tanh(const Tensor& x);
Tensor silu(const Tensor& x);

/// a where the condition is true, else b.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
Tensor where(const Tensor& condition, const Tensor& a, Scalar b);
Tensor where(const Tensor& condition, Scalar a, const Tensor& b);

// ---- In place; see Tape::check_in_place for what is refused ----

void add_(const Tensor& self, const Tensor& other, Scalar alpha = 1);
void add_(const Tensor& self, Scalar value);
void mul_(const Tensor& self, const Tensor& other);
void mul_(const Tensor& self, Scalar value);
void div_(const Tensor& self, const Tensor& other);
void div_(const Tensor& self, Scalar value);
void relu_(const Tensor& self);

// ---- Without derivative: bool results, or a derivative that is 0 wherever it exists ----

using ops::ceil;
using ops::eq;
using ops::floor;
using ops::ge;
using ops::gt;
using ops::isfinite;
using ops::isinf;
using ops::isnan;
using ops::le;
using ops::logical_and;
using ops::logical_not;
using ops::logical_or;
using ops::lt;
using ops::ne;
using ops::round;
using ops::sign;

}  // namespace taper
