#include "taper/ops/elementwise/elementwise.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "taper/core/views.h"
#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise_gpu.h"
#include "taper/ops/elementwise/elementwise_op.h"
#include "taper/ops/op_call.h"

namespace taper::ops {
namespace {

using Op = ElementwiseOp;
using Inputs = std::vector<Tensor>;

/// Returns a number as an input without dimensions, in the widest type of its kind, on the CPU for any
/// device.
Tensor number(Scalar value) {
  return scalar_tensor(value, {.dtype = value.is_floating_point() ? kFloat64 : kInt64});
}

/// Returns the number of an arithmetic op on tensors of dtype `common`. Throws Error if it does not fit an
/// integer dtype. A negative number fits u8, whose arithmetic wraps around, if its negation does. Floats take
/// the number unrounded, since half types compute in f32.
Tensor term(Op op, Scalar value, DType common) {
  if (is_integral(common)) {
    const auto [lowest, highest] = integer_range(common);
    const int64_t integer = value.to_int64();
    TAPER_CHECK(integer >= std::min(lowest, -highest) && integer <= highest,
                "{}: {} does not fit a tensor of {}, whose numbers go from {} to {}; convert it with .to()",
                name(op), value, common, lowest, highest);
  }
  return number(value);
}

/// Returns a number that may itself become an element of the result.
Tensor choice(Op op, Scalar value, DType common) {
  return number(value.as_element(common, name(op)));
}

/// Returns a number to compare elements of dtype `common` with. It is rounded like them, or no half-precision
/// tensor would ever equal 0.1. Integers are compared exactly, whatever their dtypes.
Tensor comparand(Scalar value, DType common) {
  return number(is_floating_point(common) ? value.rounded(common) : value);
}

/// Returns the factor of b in a + alpha * b.
Tensor factor(Scalar alpha, DType common) {
  if (is_floating_point(common)) return number(alpha);
  TAPER_CHECK(alpha.to_double() == std::floor(alpha.to_double()),
              "add: alpha = {} must be an integer for {} tensors", alpha, common);
  return number(alpha.to_int64());
}

/// Returns whether x is a CPU tensor without dimensions, which meets tensors of any device, as numbers do.
bool is_number(const Tensor& x) {
  return x.dim() == 0 && x.device().is_cpu();
}

/// Returns the dtype of the results of functions marked (float), for inputs of `dtype`.
DType floating(DType dtype) {
  return is_floating_point(dtype) ? dtype : kFloat32;
}

Shape common_shape(Op op, const Inputs& inputs) {
  Shape shape = inputs[0].shape();
  for (size_t i = 1; i < inputs.size(); ++i) shape = broadcast_shapes(shape, inputs[i].shape(), name(op));
  return shape;
}

/// Returns where the op runs: the device of all inputs that are not numbers.
Device common_device(Op op, const Inputs& inputs) {
  const Tensor* first = nullptr;
  for (const Tensor& input : inputs) {
    if (is_number(input)) continue;
    if (first) check_same_device(name(op), *first, input);
    first = &input;
  }
  return first ? first->device() : inputs[0].device();
}

/// Computes in `common` (half types in f32) and writes to `out`, to whose shape the inputs broadcast.
void run(Op op, const Tensor& out, Inputs& inputs, DType common) {
  if (out.numel() == 0) return;
  for (Tensor& input : inputs) {
    if (input.shape() != out.shape()) input = views::expand(input, out.shape());
  }
  const DType compute = is_floating_point(common) ? compute_dtype(common) : kInt64;
  out.device().is_cuda() ? elementwise_gpu(op, out, inputs, compute)
                         : elementwise_cpu(op, out, inputs, compute);
}

/// Returns a new tensor of `dtype` in the memory format of the first input that has the result's shape.
Tensor compute(Op op, Inputs inputs, DType common, DType dtype) {
  const OpCall call(name(op), inputs);
  const Device device = common_device(op, inputs);
  const Shape shape = common_shape(op, inputs);
  Strides strides = strides_for(shape);
  for (const Tensor& input : inputs) {
    if (input.shape() != shape) continue;
    if (input.is_dense()) strides = input.strides();
    break;
  }
  const Tensor out = empty_strided(shape, strides, dtype, device);
  run(op, out, inputs, common);
  return out;
}

Tensor compute(Op op, Inputs inputs, DType common) {
  return compute(op, std::move(inputs), common, common);
}

const Tensor& defined(Op op, const Tensor& x) {
  check_defined(name(op), "input", x);
  return x;
}

DType common_type(Op op, const Tensor& a, const Tensor& b) {
  return result_type(defined(op, a), defined(op, b));
}

DType common_type(Op op, const Tensor& a, Scalar b) {
  return b.result_type(defined(op, a).dtype());
}

void refuse_bool(Op op, DType common) {
  TAPER_CHECK(common != kBool,
              "{}: bool tensors have no difference; use logical_not or convert with .to(kInt64)", name(op));
}

Tensor unary(Op op, const Tensor& x) {
  return compute(op, {x}, defined(op, x).dtype());
}

Tensor unary_float(Op op, const Tensor& x) {
  return compute(op, {x}, floating(defined(op, x).dtype()));
}

Tensor predicate(Op op, const Tensor& x) {
  return compute(op, {x}, defined(op, x).dtype(), kBool);
}

Tensor binary(Op op, const Tensor& a, const Tensor& b) {
  return compute(op, {a, b}, common_type(op, a, b));
}

Tensor binary(Op op, const Tensor& a, Scalar b) {
  const DType common = common_type(op, a, b);
  return compute(op, {a, term(op, b, common)}, common);
}

Tensor choose(Op op, const Tensor& a, Scalar b) {
  const DType common = common_type(op, a, b);
  return compute(op, {a, choice(op, b, common)}, common);
}

Tensor binary_float(Op op, const Tensor& a, const Tensor& b) {
  return compute(op, {a, b}, floating(common_type(op, a, b)));
}

Tensor compare(Op op, const Tensor& a, const Tensor& b) {
  return compute(op, {a, b}, common_type(op, a, b), kBool);
}

Tensor compare(Op op, const Tensor& a, Scalar b) {
  const DType common = common_type(op, a, b);
  return compute(op, {a, comparand(b, common)}, common, kBool);
}

/// Checks, then sets self to op(self, others...), computed in `common`.
void in_place(Op op, const Tensor& self, const Inputs& others, DType common) {
  check_writable(name(op), self);
  Inputs inputs = {self};
  for (const Tensor& other : others) inputs.push_back(overlaps_partly(self, other) ? clone(other) : other);
  for (const Tensor& other : others) {
    if (!is_number(other)) check_same_device(name(op), self, other);
  }
  const Shape shape = common_shape(op, inputs);
  TAPER_CHECK(shape == self.shape(), "{}_: shape {} of the other tensor does not broadcast into {}", name(op),
              inputs[1].shape(), self.shape());
  const bool fits = is_floating_point(self.dtype()) ||
                    (!is_floating_point(common) && (self.dtype() != kBool || common == kBool));
  TAPER_CHECK(fits,
              "{}_: a result of dtype {} does not go into a tensor of {}; use the function that returns "
              "a new tensor",
              name(op), common, self.dtype());
  run(op, self, inputs, common);
  self.bump_version();
}

}  // namespace

// ---- Arithmetic ----

Tensor add(const Tensor& a, const Tensor& b, Scalar alpha) {
  const DType common = common_type(Op::kAdd, a, b);
  if (alpha.to_double() == 1) return compute(Op::kAdd, {a, b}, common);
  return compute(Op::kAddScaled, {a, b, factor(alpha, common)}, common);
}
Tensor add(const Tensor& a, Scalar b) {
  return binary(Op::kAdd, a, b);
}
Tensor sub(const Tensor& a, const Tensor& b) {
  refuse_bool(Op::kSub, common_type(Op::kSub, a, b));
  return binary(Op::kSub, a, b);
}
Tensor sub(const Tensor& a, Scalar b) {
  refuse_bool(Op::kSub, common_type(Op::kSub, a, b));
  return binary(Op::kSub, a, b);
}
Tensor sub(Scalar a, const Tensor& b) {
  const DType common = common_type(Op::kSub, b, a);
  refuse_bool(Op::kSub, common);
  return compute(Op::kSub, {term(Op::kSub, a, common), b}, common);
}
Tensor mul(const Tensor& a, const Tensor& b) {
  return binary(Op::kMul, a, b);
}
Tensor mul(const Tensor& a, Scalar b) {
  return binary(Op::kMul, a, b);
}
Tensor div(const Tensor& a, const Tensor& b) {
  return binary_float(Op::kDiv, a, b);
}
Tensor div(const Tensor& a, Scalar b) {
  const DType common = floating(common_type(Op::kDiv, a, b));
  return compute(Op::kDiv, {a, number(b)}, common);
}
Tensor div(Scalar a, const Tensor& b) {
  const DType common = floating(common_type(Op::kDiv, b, a));
  return compute(Op::kDiv, {number(a), b}, common);
}
Tensor pow(const Tensor& a, const Tensor& b) {
  return binary(Op::kPow, a, b);
}
Tensor pow(const Tensor& a, Scalar b) {
  const DType common = common_type(Op::kPow, a, b);
  const double exponent = b.to_double();
  TAPER_CHECK(is_floating_point(common) || exponent >= 0,
              "pow: an integer tensor has no power {}; convert it with .to(kFloat32)", exponent);
  // The powers that training uses have their own instructions.
  if (common == a.dtype()) {
    if (exponent == 2) return unary(Op::kSquare, a);
    if (exponent == 0.5) return unary(Op::kSqrt, a);
    if (exponent == -0.5) return unary(Op::kRsqrt, a);
    if (exponent == -1) return unary(Op::kReciprocal, a);
  }
  return compute(Op::kPow, {a, number(b)}, common);
}
Tensor pow(Scalar a, const Tensor& b) {
  const DType common = common_type(Op::kPow, b, a);
  return compute(Op::kPow, {term(Op::kPow, a, common), b}, common);
}
Tensor maximum(const Tensor& a, const Tensor& b) {
  return binary(Op::kMaximum, a, b);
}
Tensor maximum(const Tensor& a, Scalar b) {
  return choose(Op::kMaximum, a, b);
}
Tensor minimum(const Tensor& a, const Tensor& b) {
  return binary(Op::kMinimum, a, b);
}
Tensor minimum(const Tensor& a, Scalar b) {
  return choose(Op::kMinimum, a, b);
}
Tensor lerp(const Tensor& a, const Tensor& b, double weight) {
  const DType common = common_type(Op::kLerp, a, b);
  check_floating_point("lerp", a);
  check_floating_point("lerp", b);
  return compute(Op::kLerp, {a, b, number(weight)}, common);
}
Tensor clamp(const Tensor& x, std::optional<Scalar> low, std::optional<Scalar> high) {
  TAPER_CHECK(low || high, "clamp: needs a lower or an upper bound");
  if (!high) return maximum(x, *low);
  if (!low) return minimum(x, *high);
  const DType common = high->result_type(common_type(Op::kClamp, x, *low));
  return compute(Op::kClamp, {x, choice(Op::kClamp, *low, common), choice(Op::kClamp, *high, common)},
                 common);
}

// ---- Functions of one tensor ----

Tensor neg(const Tensor& x) {
  refuse_bool(Op::kNeg, defined(Op::kNeg, x).dtype());
  return unary(Op::kNeg, x);
}
Tensor abs(const Tensor& x) {
  return unary(Op::kAbs, x);
}
Tensor sign(const Tensor& x) {
  return unary(Op::kSign, x);
}
Tensor square(const Tensor& x) {
  return unary(Op::kSquare, x);
}
Tensor floor(const Tensor& x) {
  return unary(Op::kFloor, x);
}
Tensor ceil(const Tensor& x) {
  return unary(Op::kCeil, x);
}
Tensor round(const Tensor& x) {
  return unary(Op::kRound, x);
}
Tensor exp(const Tensor& x) {
  return unary_float(Op::kExp, x);
}
Tensor log(const Tensor& x) {
  return unary_float(Op::kLog, x);
}
Tensor log1p(const Tensor& x) {
  return unary_float(Op::kLog1p, x);
}
Tensor sqrt(const Tensor& x) {
  return unary_float(Op::kSqrt, x);
}
Tensor rsqrt(const Tensor& x) {
  return unary_float(Op::kRsqrt, x);
}
Tensor reciprocal(const Tensor& x) {
  return unary_float(Op::kReciprocal, x);
}
Tensor sin(const Tensor& x) {
  return unary_float(Op::kSin, x);
}
Tensor cos(const Tensor& x) {
  return unary_float(Op::kCos, x);
}
Tensor erf(const Tensor& x) {
  return unary_float(Op::kErf, x);
}

// ---- Activations ----

Tensor relu(const Tensor& x) {
  return unary(Op::kRelu, x);
}
Tensor relu_backward(const Tensor& grad, const Tensor& y) {
  return binary(Op::kReluBackward, grad, y);
}
Tensor sigmoid_backward(const Tensor& grad, const Tensor& y) {
  return binary_float(Op::kSigmoidBackward, grad, y);
}
Tensor tanh_backward(const Tensor& grad, const Tensor& y) {
  return binary_float(Op::kTanhBackward, grad, y);
}
Tensor gelu_backward(const Tensor& grad, const Tensor& x) {
  return binary_float(Op::kGeluBackward, grad, x);
}
Tensor gelu_tanh_backward(const Tensor& grad, const Tensor& x) {
  return binary_float(Op::kGeluTanhBackward, grad, x);
}
Tensor silu_backward(const Tensor& grad, const Tensor& x) {
  return binary_float(Op::kSiluBackward, grad, x);
}
Tensor leaky_relu(const Tensor& x, double slope) {
  check_floating_point("leaky_relu", defined(Op::kLeakyRelu, x));
  return compute(Op::kLeakyRelu, {x, number(slope)}, x.dtype());
}
Tensor sigmoid(const Tensor& x) {
  return unary_float(Op::kSigmoid, x);
}
Tensor tanh(const Tensor& x) {
  return unary_float(Op::kTanh, x);
}
Tensor gelu(const Tensor& x) {
  check_floating_point("gelu", defined(Op::kGelu, x));
  return unary(Op::kGelu, x);
}
Tensor gelu_tanh(const Tensor& x) {
  check_floating_point("gelu_tanh", defined(Op::kGeluTanh, x));
  return unary(Op::kGeluTanh, x);
}
Tensor silu(const Tensor& x) {
  check_floating_point("silu", defined(Op::kSilu, x));
  return unary(Op::kSilu, x);
}

// ---- Comparisons and predicates ----

Tensor eq(const Tensor& a, const Tensor& b) {
  return compare(Op::kEq, a, b);
}
Tensor eq(const Tensor& a, Scalar b) {
  return compare(Op::kEq, a, b);
}
Tensor ne(const Tensor& a, const Tensor& b) {
  return compare(Op::kNe, a, b);
}
Tensor ne(const Tensor& a, Scalar b) {
  return compare(Op::kNe, a, b);
}
Tensor lt(const Tensor& a, const Tensor& b) {
  return compare(Op::kLt, a, b);
}
Tensor lt(const Tensor& a, Scalar b) {
  return compare(Op::kLt, a, b);
}
Tensor le(const Tensor& a, const Tensor& b) {
  return compare(Op::kLe, a, b);
}
Tensor le(const Tensor& a, Scalar b) {
  return compare(Op::kLe, a, b);
}
Tensor gt(const Tensor& a, const Tensor& b) {
  return compare(Op::kGt, a, b);
}
Tensor gt(const Tensor& a, Scalar b) {
  return compare(Op::kGt, a, b);
}
Tensor ge(const Tensor& a, const Tensor& b) {
  return compare(Op::kGe, a, b);
}
Tensor ge(const Tensor& a, Scalar b) {
  return compare(Op::kGe, a, b);
}
Tensor logical_and(const Tensor& a, const Tensor& b) {
  return compare(Op::kLogicalAnd, a, b);
}
Tensor logical_or(const Tensor& a, const Tensor& b) {
  return compare(Op::kLogicalOr, a, b);
}
Tensor logical_not(const Tensor& x) {
  return predicate(Op::kLogicalNot, x);
}
Tensor isnan(const Tensor& x) {
  return predicate(Op::kIsNan, x);
}
Tensor isinf(const Tensor& x) {
  return predicate(Op::kIsInf, x);
}
Tensor isfinite(const Tensor& x) {
  return predicate(Op::kIsFinite, x);
}

namespace {

Tensor select_where(const Tensor& condition, const Tensor& a, const Tensor& b, DType common) {
  TAPER_CHECK(defined(Op::kWhere, condition).dtype() == kBool,
              "where: the condition must be bool, got {}; compare first, as in gt(x, 0)", condition.dtype());
  // The condition comes last, so that the result takes its memory format from a value.
  return compute(Op::kWhere, {a, b, condition}, common);
}

}  // namespace

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  return select_where(condition, a, b, common_type(Op::kWhere, a, b));
}
Tensor where(const Tensor& condition, const Tensor& a, Scalar b) {
  const DType common = common_type(Op::kWhere, a, b);
  return select_where(condition, a, choice(Op::kWhere, b, common), common);
}
Tensor where(const Tensor& condition, Scalar a, const Tensor& b) {
  const DType common = common_type(Op::kWhere, b, a);
  return select_where(condition, choice(Op::kWhere, a, common), b, common);
}

// ---- In place ----

void add_(const Tensor& self, const Tensor& other, Scalar alpha) {
  const OpCall call("add_", self, other);
  const DType common = common_type(Op::kAdd, self, other);
  if (alpha.to_double() == 1) return in_place(Op::kAdd, self, {other}, common);
  in_place(Op::kAddScaled, self, {other, factor(alpha, common)}, common);
}
void add_(const Tensor& self, Scalar value) {
  const OpCall call("add_", self);
  const DType common = common_type(Op::kAdd, self, value);
  in_place(Op::kAdd, self, {term(Op::kAdd, value, common)}, common);
}
void mul_(const Tensor& self, const Tensor& other) {
  const OpCall call("mul_", self, other);
  in_place(Op::kMul, self, {other}, common_type(Op::kMul, self, other));
}
void mul_(const Tensor& self, Scalar value) {
  const OpCall call("mul_", self);
  const DType common = common_type(Op::kMul, self, value);
  in_place(Op::kMul, self, {term(Op::kMul, value, common)}, common);
}
void div_(const Tensor& self, const Tensor& other) {
  const OpCall call("div_", self, other);
  in_place(Op::kDiv, self, {other}, floating(common_type(Op::kDiv, self, other)));
}
void div_(const Tensor& self, Scalar value) {
  const OpCall call("div_", self);
  const DType common = floating(common_type(Op::kDiv, self, value));
  in_place(Op::kDiv, self, {number(value)}, common);
}
void relu_(const Tensor& self) {
  const OpCall call("relu_", self);
  in_place(Op::kRelu, self, {}, defined(Op::kRelu, self).dtype());
}
void gelu_tanh_(const Tensor& self) {
  const OpCall call("gelu_tanh_", self);
  check_floating_point("gelu_tanh_", defined(Op::kGeluTanh, self));
  in_place(Op::kGeluTanh, self, {}, self.dtype());
}

}  // namespace taper::ops
