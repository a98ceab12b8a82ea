#include "taper/autograd/derivatives/elementwise.h"

#include <cmath>
#include <numbers>

#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/autograd/tape/grad_mode.h"

namespace taper {
namespace {

/// The gradient of one operand: wanted or not, and back to the operand's shape.
template <class Gradient>
Tensor operand(const Backward& bw, size_t index, const Shape& shape, Gradient&& gradient) {
  return bw.needs(index) ? sum_to(gradient(), shape) : Tensor();
}

/// 1 where the condition holds, 0.5 where the operands are equal: shares of maximum and minimum.
Tensor share(const Tensor& wins, const Tensor& ties, DType dtype) {
  return add(cast(wins, dtype), mul(cast(ties, dtype), 0.5));
}

/// The operands of an in-place product as they were before the write, with their histories. The second shares
/// memory with the first in x.mul_(x).
struct BeforeWrite {
  BeforeWrite(const Tape& tape, const Tensor& self_now, const Tensor& other_now) {
    if (!tape.recording()) return;
    if (other_now.requires_grad()) self = clone(self_now);
    other = other_now.storage() == self_now.storage() ? clone(other_now) : other_now;
  }
  Tensor self, other;
};

}  // namespace

// ---- Arithmetic ----

Tensor add(const Tensor& a, const Tensor& b, Scalar alpha) {
  Tape tape("add", {a, b}, {{"alpha", alpha, 1}});
  return tape.record(ops::add(a, b, alpha), {},
                     [sa = a.shape(), sb = b.shape(), alpha](const Backward& bw) -> Grads {
                       return {operand(bw, 0, sa, [&] { return bw.grad(); }), operand(bw, 1, sb, [&] {
                                 return alpha.to_double() == 1 ? bw.grad() : mul(bw.grad(), alpha);
                               })};
                     });
}

Tensor add(const Tensor& a, Scalar b) {
  Tape tape("add", {a}, {{"b", b}});
  return tape.record(ops::add(a, b), {}, [](const Backward& bw) -> Grads { return {bw.grad()}; });
}

Tensor sub(const Tensor& a, const Tensor& b) {
  Tape tape("sub", {a, b});
  return tape.record(ops::sub(a, b), {}, [sa = a.shape(), sb = b.shape()](const Backward& bw) -> Grads {
    return {operand(bw, 0, sa, [&] { return bw.grad(); }),
            operand(bw, 1, sb, [&] { return neg(bw.grad()); })};
  });
}

Tensor sub(const Tensor& a, Scalar b) {
  Tape tape("sub", {a}, {{"b", b}});
  return tape.record(ops::sub(a, b), {}, [](const Backward& bw) -> Grads { return {bw.grad()}; });
}

Tensor sub(Scalar a, const Tensor& b) {
  Tape tape("sub", {b}, {{"a", a}});
  return tape.record(ops::sub(a, b), {}, [](const Backward& bw) -> Grads { return {neg(bw.grad())}; });
}

Tensor mul(const Tensor& a, const Tensor& b) {
  Tape tape("mul", {a, b});
  return tape.record(ops::mul(a, b), {a, b}, [sa = a.shape(), sb = b.shape()](const Backward& bw) -> Grads {
    return {operand(bw, 0, sa, [&] { return mul(bw.grad(), bw.saved(1)); }),
            operand(bw, 1, sb, [&] { return mul(bw.grad(), bw.saved(0)); })};
  });
}

Tensor mul(const Tensor& a, Scalar b) {
  Tape tape("mul", {a}, {{"b", b}});
  return tape.record(ops::mul(a, b), {}, [b](const Backward& bw) -> Grads { return {mul(bw.grad(), b)}; });
}

Tensor div(const Tensor& a, const Tensor& b) {
  Tape tape("div", {a, b});
  return tape.record(ops::div(a, b), {a, b}, [sa = a.shape(), sb = b.shape()](const Backward& bw) -> Grads {
    const Tensor to_a = div(bw.grad(), bw.saved(1));
    return {operand(bw, 0, sa, [&] { return to_a; }),
            operand(bw, 1, sb, [&] { return neg(mul(to_a, div(bw.saved(0), bw.saved(1)))); })};
  });
}

Tensor div(const Tensor& a, Scalar b) {
  Tape tape("div", {a}, {{"b", b}});
  return tape.record(ops::div(a, b), {}, [b](const Backward& bw) -> Grads { return {div(bw.grad(), b)}; });
}

Tensor div(Scalar a, const Tensor& b) {
  if (const Autocast cast{"reciprocal", {b}}) return div(a, cast(b));
  Tape tape("div", {b}, {{"a", a}});
  return tape.record(ops::div(a, b), {b}, [a](const Backward& bw) -> Grads {
    return {neg(mul(bw.grad(), div(a, square(bw.saved(0)))))};
  });
}

Tensor pow(const Tensor& a, const Tensor& b) {
  if (const Autocast cast{"pow", {a, b}}) return pow(cast(a), cast(b));
  Tape tape("pow", {a, b});
  const Tensor y = ops::pow(a, b);
  return tape.record(y, {a, b, y}, [sa = a.shape(), sb = b.shape()](const Backward& bw) -> Grads {
    return {operand(bw, 0, sa,
                    [&] {
                      const Tensor base = bw.saved(0), exponent = bw.saved(1);
                      // b * a^(b-1) at b = 0 is 0, not 0 * inf.
                      return where(eq(exponent, 0), 0.0,
                                   mul(bw.grad(), mul(exponent, pow(base, sub(exponent, 1)))));
                    }),
            operand(bw, 1, sb, [&] {
              const Tensor base = bw.saved(0);
              const Tensor flat = logical_and(eq(base, 0), ge(bw.saved(1), 0));
              return where(flat, 0.0, mul(bw.grad(), mul(bw.saved(2), log(base))));
            })};
  });
}

Tensor pow(const Tensor& a, Scalar b) {
  if (const Autocast cast{"pow", {a}}) return pow(cast(a), b);
  Tape tape("pow", {a}, {{"b", b}});
  return tape.record(ops::pow(a, b), {a}, [b](const Backward& bw) -> Grads {
    if (b.to_double() == 0) return {zeros_like(bw.grad())};
    const Scalar less = b.is_floating_point() ? Scalar(b.to_double() - 1) : Scalar(b.to_int64() - 1);
    return {mul(bw.grad(), mul(pow(bw.saved(0), less), b))};
  });
}

Tensor pow(Scalar a, const Tensor& b) {
  if (const Autocast cast{"pow", {b}}) return pow(a, cast(b));
  Tape tape("pow", {b}, {{"a", a}});
  const Tensor y = ops::pow(a, b);
  return tape.record(y, {b, y}, [a](const Backward& bw) -> Grads {
    if (a.to_double() == 0) {
      return {where(ge(bw.saved(0), 0), 0.0, mul(bw.grad(), mul(bw.saved(1), std::log(0.0))))};
    }
    return {mul(bw.grad(), mul(bw.saved(1), std::log(a.to_double())))};
  });
}

Tensor maximum(const Tensor& a, const Tensor& b) {
  Tape tape("maximum", {a, b});
  return tape.record(
      ops::maximum(a, b), {a, b}, [sa = a.shape(), sb = b.shape()](const Backward& bw) -> Grads {
        const Tensor x = bw.saved(0), y = bw.saved(1), ties = eq(x, y);
        const DType dtype = bw.grad().dtype();
        return {operand(bw, 0, sa, [&] { return mul(bw.grad(), share(gt(x, y), ties, dtype)); }),
                operand(bw, 1, sb, [&] { return mul(bw.grad(), share(lt(x, y), ties, dtype)); })};
      });
}

Tensor minimum(const Tensor& a, const Tensor& b) {
  Tape tape("minimum", {a, b});
  return tape.record(
      ops::minimum(a, b), {a, b}, [sa = a.shape(), sb = b.shape()](const Backward& bw) -> Grads {
        const Tensor x = bw.saved(0), y = bw.saved(1), ties = eq(x, y);
        const DType dtype = bw.grad().dtype();
        return {operand(bw, 0, sa, [&] { return mul(bw.grad(), share(lt(x, y), ties, dtype)); }),
                operand(bw, 1, sb, [&] { return mul(bw.grad(), share(gt(x, y), ties, dtype)); })};
      });
}

Tensor lerp(const Tensor& a, const Tensor& b, double weight) {
  Tape tape("lerp", {a, b}, {{"weight", weight}});
  return tape.record(ops::lerp(a, b, weight), {},
                     [sa = a.shape(), sb = b.shape(), weight](const Backward& bw) -> Grads {
                       return {operand(bw, 0, sa, [&] { return mul(bw.grad(), 1 - weight); }),
                               operand(bw, 1, sb, [&] { return mul(bw.grad(), weight); })};
                     });
}

Tensor clamp(const Tensor& x, std::optional<Scalar> low, std::optional<Scalar> high) {
  Tape tape("clamp", {x}, {{"low", low}, {"high", high}});
  return tape.record(ops::clamp(x, low, high), {x}, [low, high](const Backward& bw) -> Grads {
    Tensor grad = bw.grad();
    if (low) grad = where(ge(bw.saved(0), *low), grad, 0.0);
    if (high) grad = where(le(bw.saved(0), *high), grad, 0.0);
    return {grad};
  });
}

// ---- Functions of one tensor ----

Tensor neg(const Tensor& x) {
  Tape tape("neg", {x});
  return tape.record(ops::neg(x), {}, [](const Backward& bw) -> Grads { return {neg(bw.grad())}; });
}

Tensor abs(const Tensor& x) {
  Tape tape("abs", {x});
  return tape.record(ops::abs(x), {x},
                     [](const Backward& bw) -> Grads { return {mul(bw.grad(), sign(bw.saved(0)))}; });
}

Tensor square(const Tensor& x) {
  if (const Autocast cast{"square", {x}}) return square(cast(x));
  Tape tape("square", {x});
  return tape.record(ops::square(x), {x},
                     [](const Backward& bw) -> Grads { return {mul(bw.grad(), mul(bw.saved(0), 2))}; });
}

Tensor exp(const Tensor& x) {
  if (const Autocast cast{"exp", {x}}) return exp(cast(x));
  Tape tape("exp", {x});
  const Tensor y = ops::exp(x);
  return tape.record(y, {y}, [](const Backward& bw) -> Grads { return {mul(bw.grad(), bw.saved(0))}; });
}

Tensor log(const Tensor& x) {
  if (const Autocast cast{"log", {x}}) return log(cast(x));
  Tape tape("log", {x});
  return tape.record(ops::log(x), {x},
                     [](const Backward& bw) -> Grads { return {div(bw.grad(), bw.saved(0))}; });
}

Tensor log1p(const Tensor& x) {
  if (const Autocast cast{"log1p", {x}}) return log1p(cast(x));
  Tape tape("log1p", {x});
  return tape.record(ops::log1p(x), {x},
                     [](const Backward& bw) -> Grads { return {div(bw.grad(), add(bw.saved(0), 1))}; });
}

Tensor sqrt(const Tensor& x) {
  Tape tape("sqrt", {x});
  const Tensor y = ops::sqrt(x);
  return tape.record(y, {y},
                     [](const Backward& bw) -> Grads { return {div(bw.grad(), mul(bw.saved(0), 2))}; });
}

Tensor rsqrt(const Tensor& x) {
  if (const Autocast cast{"rsqrt", {x}}) return rsqrt(cast(x));
  Tape tape("rsqrt", {x});
  const Tensor y = ops::rsqrt(x);
  return tape.record(y, {y}, [](const Backward& bw) -> Grads {
    const Tensor root = bw.saved(0);
    return {mul(bw.grad(), mul(mul(square(root), root), -0.5))};
  });
}

Tensor reciprocal(const Tensor& x) {
  if (const Autocast cast{"reciprocal", {x}}) return reciprocal(cast(x));
  Tape tape("reciprocal", {x});
  const Tensor y = ops::reciprocal(x);
  return tape.record(y, {y},
                     [](const Backward& bw) -> Grads { return {neg(mul(bw.grad(), square(bw.saved(0))))}; });
}

Tensor sin(const Tensor& x) {
  Tape tape("sin", {x});
  return tape.record(ops::sin(x), {x},
                     [](const Backward& bw) -> Grads { return {mul(bw.grad(), cos(bw.saved(0)))}; });
}

Tensor cos(const Tensor& x) {
  Tape tape("cos", {x});
  return tape.record(ops::cos(x), {x},
                     [](const Backward& bw) -> Grads { return {neg(mul(bw.grad(), sin(bw.saved(0))))}; });
}

Tensor erf(const Tensor& x) {
  Tape tape("erf", {x});
  return tape.record(ops::erf(x), {x}, [](const Backward& bw) -> Grads {
    const double scale = 2 * std::numbers::inv_sqrtpi;
    return {mul(bw.grad(), mul(exp(neg(square(bw.saved(0)))), scale))};
  });
}

// ---- Activations ----
// Their gradients are single ops, which compute half types in f32; only when the backward pass is itself
// recorded are they composed of differentiable functions.

Tensor relu(const Tensor& x) {
  Tape tape("relu", {x});
  const Tensor y = ops::relu(x);
  return tape.record(y, {y},
                     [](const Backward& bw) -> Grads { return {relu_backward(bw.grad(), bw.saved(0))}; });
}

Tensor relu_backward(const Tensor& grad, const Tensor& y) {
  Tape tape("relu_backward", {grad}, {{"y", y}});  // y only says where: no gradient of its own
  return tape.record(ops::relu_backward(grad, y), {y},
                     [](const Backward& bw) -> Grads { return {relu_backward(bw.grad(), bw.saved(0))}; });
}

Tensor leaky_relu(const Tensor& x, double slope) {
  Tape tape("leaky_relu", {x}, {{"slope", slope}});
  return tape.record(ops::leaky_relu(x, slope), {x}, [slope](const Backward& bw) -> Grads {
    return {where(gt(bw.saved(0), 0), bw.grad(), mul(bw.grad(), slope))};
  });
}

Tensor sigmoid(const Tensor& x) {
  Tape tape("sigmoid", {x});
  const Tensor y = ops::sigmoid(x);
  return tape.record(y, {y}, [](const Backward& bw) -> Grads {
    const Tensor s = bw.saved(0);
    if (!GradMode::is_enabled()) return {ops::sigmoid_backward(bw.grad(), s)};
    return {mul(bw.grad(), mul(s, sub(1, s)))};
  });
}

Tensor tanh(const Tensor& x) {
  Tape tape("tanh", {x});
  const Tensor y = ops::tanh(x);
  return tape.record(y, {y}, [](const Backward& bw) -> Grads {
    if (!GradMode::is_enabled()) return {ops::tanh_backward(bw.grad(), bw.saved(0))};
    return {mul(bw.grad(), sub(1, square(bw.saved(0))))};
  });
}

Tensor gelu(const Tensor& x) {
  Tape tape("gelu", {x});
  return tape.record(ops::gelu(x), {x}, [](const Backward& bw) -> Grads {
    const Tensor input = bw.saved(0);
    if (!GradMode::is_enabled()) return {ops::gelu_backward(bw.grad(), input)};
    const Tensor distribution = mul(add(erf(mul(input, 1 / std::numbers::sqrt2)), 1), 0.5);
    const double scale = std::numbers::inv_sqrtpi / std::numbers::sqrt2;
    const Tensor density = mul(exp(mul(square(input), -0.5)), scale);
    return {mul(bw.grad(), add(distribution, mul(input, density)))};
  });
}

Tensor gelu_tanh(const Tensor& x) {
  Tape tape("gelu_tanh", {x});
  return tape.record(ops::gelu_tanh(x), {x}, [](const Backward& bw) -> Grads {
    const Tensor input = bw.saved(0);
    if (!GradMode::is_enabled()) return {ops::gelu_tanh_backward(bw.grad(), input)};
    const double scale = std::numbers::inv_sqrtpi * std::numbers::sqrt2;
    const Tensor squared = square(input);
    const Tensor t = tanh(mul(mul(input, add(mul(squared, 0.044715), 1)), scale));
    const Tensor inner_slope = mul(add(mul(squared, 3 * 0.044715), 1), scale);
    const Tensor curved = mul(mul(input, sub(1, square(t))), inner_slope);
    return {mul(bw.grad(), mul(add(add(t, 1), curved), 0.5))};
  });
}

Tensor silu(const Tensor& x) {
  Tape tape("silu", {x});
  return tape.record(ops::silu(x), {x}, [](const Backward& bw) -> Grads {
    const Tensor input = bw.saved(0);
    if (!GradMode::is_enabled()) return {ops::silu_backward(bw.grad(), input)};
    const Tensor s = sigmoid(input);
    return {mul(bw.grad(), mul(s, add(mul(input, sub(1, s)), 1)))};
  });
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  Tape tape("where", {condition, a, b});
  return tape.record(ops::where(condition, a, b), {condition},
                     [sa = a.shape(), sb = b.shape()](const Backward& bw) -> Grads {
                       const Tensor chosen = bw.saved(0);
                       return {Tensor(), operand(bw, 1, sa, [&] { return where(chosen, bw.grad(), 0.0); }),
                               operand(bw, 2, sb, [&] { return where(chosen, 0.0, bw.grad()); })};
                     });
}

Tensor where(const Tensor& condition, const Tensor& a, Scalar b) {
  Tape tape("where", {condition, a}, {{"b", b}});
  return tape.record(ops::where(condition, a, b), {condition}, [sa = a.shape()](const Backward& bw) -> Grads {
    return {Tensor(), sum_to(where(bw.saved(0), bw.grad(), 0.0), sa)};
  });
}

Tensor where(const Tensor& condition, Scalar a, const Tensor& b) {
  Tape tape("where", {condition, b}, {{"a", a}});
  return tape.record(ops::where(condition, a, b), {condition}, [sb = b.shape()](const Backward& bw) -> Grads {
    return {Tensor(), sum_to(where(bw.saved(0), 0.0, bw.grad()), sb)};
  });
}

// ---- In place ----

void add_(const Tensor& self, const Tensor& other, Scalar alpha) {
  Tape tape("add_", {self, other}, {{"alpha", alpha, 1}});
  tape.check_in_place(self);
  ops::add_(self, other, alpha);
  tape.record_in_place(self, {}, [shape = other.shape(), alpha](const Backward& bw) -> Grads {
    return {bw.grad(), operand(bw, 1, shape, [&] { return mul(bw.grad(), alpha); })};
  });
}

void add_(const Tensor& self, Scalar value) {
  Tape tape("add_", {self}, {{"value", value}});
  tape.check_in_place(self);
  ops::add_(self, value);
  tape.record_in_place(self, {}, [](const Backward& bw) -> Grads { return {bw.grad()}; });
}

void mul_(const Tensor& self, const Tensor& other) {
  Tape tape("mul_", {self, other});
  tape.check_in_place(self);
  const BeforeWrite before(tape, self, other);
  ops::mul_(self, other);
  tape.record_in_place(self, {before.self, before.other},
                       [shape = other.shape()](const Backward& bw) -> Grads {
                         return {bw.needs(0) ? mul(bw.grad(), bw.saved(1)) : Tensor(),
                                 operand(bw, 1, shape, [&] { return mul(bw.grad(), bw.saved(0)); })};
                       });
}

void mul_(const Tensor& self, Scalar value) {
  Tape tape("mul_", {self}, {{"value", value}});
  tape.check_in_place(self);
  ops::mul_(self, value);
  tape.record_in_place(self, {}, [value](const Backward& bw) -> Grads { return {mul(bw.grad(), value)}; });
}

void div_(const Tensor& self, const Tensor& other) {
  Tape tape("div_", {self, other});
  tape.check_in_place(self);
  const BeforeWrite before(tape, self, other);
  ops::div_(self, other);
  tape.record_in_place(
      self, {before.self, before.other}, [shape = other.shape()](const Backward& bw) -> Grads {
        const Tensor to_self = div(bw.grad(), bw.saved(1));
        return {to_self,
                operand(bw, 1, shape, [&] { return neg(mul(to_self, div(bw.saved(0), bw.saved(1)))); })};
      });
}

void div_(const Tensor& self, Scalar value) {
  Tape tape("div_", {self}, {{"value", value}});
  tape.check_in_place(self);
  ops::div_(self, value);
  tape.record_in_place(self, {}, [value](const Backward& bw) -> Grads { return {div(bw.grad(), value)}; });
}

void relu_(const Tensor& self) {
  Tape tape("relu_", {self});
  tape.check_in_place(self);
  ops::relu_(self);
  // The result itself is what the derivative needs, and saving it after the write is safe.
  tape.record_in_place(self, {self},
                       [](const Backward& bw) -> Grads { return {relu_backward(bw.grad(), bw.saved(0))}; });
}

}  // namespace taper
