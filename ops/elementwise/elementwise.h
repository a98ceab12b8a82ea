#pragma once
// Arithmetic on each element by itself, with broadcasting and PyTorch's type promotion.
//
// Two tensors meet in result_type(a, b). A number takes the tensor's dtype unless it is of a higher category
// (x * 0.5 of an integer tensor is f32), and must fit it: an i32 tensor takes no 2^40. Comparisons round the
// number to the tensor's dtype first, so that an f16 tensor of 0.1 equals 0.1. They compare integers of any
// size exactly. Half types compute in f32 and round once. Functions marked (float) turn integers and bool
// into f32. Results keep the memory format of the first input that has the result's shape. All throw Error if
// shapes do not broadcast or devices differ. PyTorch's counterparts: ATen/native/BinaryOps.cpp, UnaryOps.cpp,
// TensorCompare.cpp, Activation.cpp.

#include <optional>

#include "taper/core/tensor.h"

namespace taper::ops {

// ---- Arithmetic ----

/// a + alpha * b. Throws Error for a fractional alpha with integer tensors.
Tensor add(const Tensor& a, const Tensor& b, Scalar alpha = 1);
Tensor add(const Tensor& a, Scalar b);
/// a - b. Throws Error for bool tensors.
Tensor sub(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, Scalar b);
Tensor sub(Scalar a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, Scalar b);
/// (float) a / b.
Tensor div(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, Scalar b);
Tensor div(Scalar a, const Tensor& b);
/// a to the power b. Throws Error for an integer tensor with a negative integer number as exponent.
Tensor pow(const Tensor& a, const Tensor& b);
Tensor pow(const Tensor& a, Scalar b);
Tensor pow(Scalar a, const Tensor& b);
/// The larger (smaller) of the two; NaN if either is NaN.
Tensor maximum(const Tensor& a, const Tensor& b);
Tensor maximum(const Tensor& a, Scalar b);
Tensor minimum(const Tensor& a, const Tensor& b);
Tensor minimum(const Tensor& a, Scalar b);
/// a + weight * (b - a), floating-point. (torch.lerp)
Tensor lerp(const Tensor& a, const Tensor& b, double weight);
/// x limited to [low, high]; either bound may be left out. NaN stays NaN. (torch.clamp)
Tensor clamp(const Tensor& x, std::optional<Scalar> low, std::optional<Scalar> high = {});

// ---- Functions of one tensor ----

/// Throws Error for bool tensors.
Tensor neg(const Tensor& x);
Tensor abs(const Tensor& x);
/// -1, 0 or 1; 0 for NaN.
Tensor sign(const Tensor& x);
Tensor square(const Tensor& x);
/// Integers are returned unchanged.
Tensor floor(const Tensor& x);
Tensor ceil(const Tensor& x);
/// Rounds to the nearest integer, halves to even.
Tensor round(const Tensor& x);

// (float)
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

/// max(x, 0); NaN stays NaN.
Tensor relu(const Tensor& x);
/// relu's gradient from its output: 0 where y <= 0, else grad. Where y is NaN, returns grad.
Tensor relu_backward(const Tensor& grad, const Tensor& y);
/// (float) Gradients of the activations below from their output y or input x.
Tensor sigmoid_backward(const Tensor& grad, const Tensor& y);
Tensor tanh_backward(const Tensor& grad, const Tensor& y);
Tensor gelu_backward(const Tensor& grad, const Tensor& x);
Tensor gelu_tanh_backward(const Tensor& grad, const Tensor& x);
Tensor silu_backward(const Tensor& grad, const Tensor& x);
/// x where x > 0, else slope * x. Floating-point.
Tensor leaky_relu(const Tensor& x, double slope = 0.01);
/// (float) 1 / (1 + exp(-x)).
Tensor sigmoid(const Tensor& x);
/// (float)
Tensor tanh(const Tensor& x);
/// x * Phi(x) with the normal distribution function, by erf; floating-point. Hendrycks & Gimpel 2016.
Tensor gelu(const Tensor& x);
/// x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))): gelu within 5e-4, the form that matrix libraries
/// fuse; floating-point. (torch.nn.functional.gelu, approximate="tanh")
Tensor gelu_tanh(const Tensor& x);
/// x * sigmoid(x), floating-point.
Tensor silu(const Tensor& x);

// ---- Comparisons and predicates: bool results ----

Tensor eq(const Tensor& a, const Tensor& b);
Tensor eq(const Tensor& a, Scalar b);
Tensor ne(const Tensor& a, const Tensor& b);
Tensor ne(const Tensor& a, Scalar b);
Tensor lt(const Tensor& a, const Tensor& b);
Tensor lt(const Tensor& a, Scalar b);
Tensor le(const Tensor& a, const Tensor& b);
Tensor le(const Tensor& a, Scalar b);
Tensor gt(const Tensor& a, const Tensor& b);
Tensor gt(const Tensor& a, Scalar b);
Tensor ge(const Tensor& a, const Tensor& b);
Tensor ge(const Tensor& a, Scalar b);
/// Values other than zero, NaN included, count as true.
Tensor logical_and(const Tensor& a, const Tensor& b);
Tensor logical_or(const Tensor& a, const Tensor& b);
Tensor logical_not(const Tensor& x);
Tensor isnan(const Tensor& x);
Tensor isinf(const Tensor& x);
Tensor isfinite(const Tensor& x);

/// a where the condition is true, else b; all three broadcast. Throws Error unless the condition is bool.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
Tensor where(const Tensor& condition, const Tensor& a, Scalar b);
Tensor where(const Tensor& condition, Scalar a, const Tensor& b);

// ---- In place ----
// self gets the result, converted to its dtype, and a new version. All throw Error if the result does not fit
// self's shape or category (float into integer, integer into bool), or if elements of self share memory.

/// self += alpha * other.
void add_(const Tensor& self, const Tensor& other, Scalar alpha = 1);
void add_(const Tensor& self, Scalar value);
void mul_(const Tensor& self, const Tensor& other);
void mul_(const Tensor& self, Scalar value);
void div_(const Tensor& self, const Tensor& other);
void div_(const Tensor& self, Scalar value);
void relu_(const Tensor& self);
void gelu_tanh_(const Tensor& self);

}  // namespace taper::ops
