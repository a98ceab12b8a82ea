// Derivatives of elementwise ops, copies and dropout: finite differences, twice where create_graph works, and
// PyTorch's numbers.

#include <functional>

#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/random.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/gradcheck.h"
#include "tests/support/gpu_derivatives.h"
#include "tests/support/oracle_cases.h"
#include "tests/support/tolerance.h"

using namespace taper;

namespace {

using Inputs = std::vector<Tensor>;

/// A leaf with values between -2 and 2, none nearer than 0.01 to another, to 0 or to a half.
Tensor spread_leaf(const Shape& shape, double phase = 0) {
  std::vector<double> data(size_t(numel(shape)));
  for (size_t i = 0; i < data.size(); ++i) {
    const double value = 2 * std::sin(1.3 * double(i) + phase);
    const double nearest = std::round(2 * value) / 2;
    data[i] = std::fabs(value - nearest) < 0.01 ? nearest + 0.02 : value;
  }
  Tensor x = from_vector(data, shape);
  x.set_requires_grad();
  return x;
}

Tensor positive_leaf(const Shape& shape, double phase = 0) {
  Tensor x = add(abs(spread_leaf(shape, phase).detach()), 0.2);
  x.set_requires_grad();
  return x;
}

struct UnaryCase {
  const char* name;
  Tensor (*function)(const Tensor&);
  bool positive = false;
};

const std::vector<UnaryCase> kUnary = {
    {"neg", neg},
    {"abs", abs},
    {"square", square},
    {"exp", exp},
    {"log", log, true},
    {"log1p", log1p, true},
    {"sqrt", sqrt, true},
    {"rsqrt", rsqrt, true},
    {"reciprocal", reciprocal},
    {"sin", sin},
    {"cos", cos},
    {"erf", erf},
    {"relu", relu},
    {"leaky_relu", [](const Tensor& x) { return leaky_relu(x, 0.1); }},
    {"sigmoid", sigmoid},
    {"tanh", tanh},
    {"gelu", gelu},
    {"gelu_tanh", gelu_tanh},
    {"silu", silu},
    {"x + 2", [](const Tensor& x) { return x + 2; }},
    {"2 - x", [](const Tensor& x) { return 2 - x; }},
    {"x * 3", [](const Tensor& x) { return x * 3; }},
    {"x / 3", [](const Tensor& x) { return x / 3; }},
    {"3 / x", [](const Tensor& x) { return 3 / x; }},
    {"x^3", [](const Tensor& x) { return pow(x, 3); }},
    {"x^0", [](const Tensor& x) { return pow(x, 0); }},
    {"x^1.5", [](const Tensor& x) { return pow(x, 1.5); }, true},
    {"x^-1", [](const Tensor& x) { return pow(x, -1); }},
    {"2^x", [](const Tensor& x) { return pow(2, x); }},
    {"clamp", [](const Tensor& x) { return clamp(x, -0.5, 1); }},
    {"clamp from below", [](const Tensor& x) { return clamp(x, 0.5); }},
    {"clamp from above", [](const Tensor& x) { return clamp(x, {}, 0.5); }},
    {"where(x > 0, x, 2)", [](const Tensor& x) { return where(gt(x, 0), x, 2); }},
    {"where(x > 0, 2, x)", [](const Tensor& x) { return where(gt(x, 0), 2, x); }},
    {"clone", [](const Tensor& x) { return clone(x); }},
    {"channels_last",
     [](const Tensor& x) {
       return contiguous(x.reshape({2, 1, 3, -1}), kChannelsLast) * x.reshape({2, 1, 3, -1});
     }},
    {"in place",
     [](const Tensor& x) {
       const Tensor y = clone(x);
       add_(y, 1);
       mul_(y, x);
       mul_(y, 0.5);
       div_(y, x * x + 1);
       div_(y, 3);
       add_(y, x, -2);
       return y;
     }},
    {"relu in place",
     [](const Tensor& x) {
       const Tensor y = x * 2;
       relu_(y);
       return y * x;
     }},
};

struct BinaryCase {
  const char* name;
  std::function<Tensor(const Tensor&, const Tensor&)> function;
  bool positive = false;
};

const std::vector<BinaryCase> kBinary = {
    {"add", [](auto& a, auto& b) { return a + b; }},
    {"add scaled", [](auto& a, auto& b) { return add(a, b, -1.5); }},
    {"sub", [](auto& a, auto& b) { return a - b; }},
    {"mul", [](auto& a, auto& b) { return a * b; }},
    {"div", [](auto& a, auto& b) { return a / b; }},
    {"pow", [](auto& a, auto& b) { return pow(a, b); }, true},
    {"maximum", [](auto& a, auto& b) { return maximum(a, b); }},
    {"minimum", [](auto& a, auto& b) { return minimum(a, b); }},
    {"lerp", [](auto& a, auto& b) { return lerp(a, b, 0.3); }},
    {"where", [](auto& a, auto& b) { return where(gt(a, b), a, b * b); }},
    {"copy_",
     [](auto& a, auto& b) {
       Tensor y = a * b;
       copy_(y, b);
       return y * a;
     }},
};

}  // namespace

TEST_CASE("gradcheck of functions of one tensor") {
  for (const UnaryCase& unary : kUnary) {
    INFO(unary.name);
    const TensorFunction function = [&](const Inputs& x) { return unary.function(x[0]); };
    const Tensor x = unary.positive ? positive_leaf({2, 3}) : spread_leaf({2, 3});
    CHECK_NOTHROW(gradcheck(function, {x}));
    CHECK_NOTHROW(gradgradcheck(function, {x}));
  }
}

TEST_CASE("gradcheck of functions of two tensors, broadcast either way") {
  const std::vector<std::pair<Shape, Shape>> shapes = {
      {{2, 3}, {2, 3}}, {{2, 1, 3}, {4, 1}}, {{3}, {2, 3}}, {{}, {4}}};
  for (const BinaryCase& binary : kBinary) {
    for (const auto& [shape_a, shape_b] : shapes) {
      INFO(binary.name << " " << shape_a.str() << " " << shape_b.str());
      const TensorFunction function = [&](const Inputs& x) { return binary.function(x[0], x[1]); };
      const Tensor a = binary.positive ? positive_leaf(shape_a) : spread_leaf(shape_a);
      const Tensor b = spread_leaf(shape_b, 0.7);
      CHECK_NOTHROW(gradcheck(function, {a, b}));
      CHECK_NOTHROW(gradgradcheck(function, {a, b}));
      CHECK_NOTHROW(gradcheck(function, {a.detach(), b}));
      CHECK_NOTHROW(gradcheck(function, {a, b.detach()}));
    }
  }
}

TEST_CASE("gradcheck of writes into a part of a tensor") {
  const TensorFunction function = [](const Inputs& inputs) {
    const Tensor& x = inputs[0];
    const Tensor y = x * x;
    mul_(y.select(0, 1), x.select(0, 0));
    fill_(y.select(1, 0), 3);
    copy_(y.select(1, 1), x.select(1, 2) * x.select(1, 1));
    return y;
  };
  CHECK_NOTHROW(gradcheck(function, {spread_leaf({2, 3})}));
  CHECK_THROWS_WITH(gradgradcheck(function, {spread_leaf({2, 3})}),
                    Catch::Contains("has no second derivative"));
}

TEST_CASE("gradcheck of dropout with a fixed mask") {
  for (const double p : {0.0, 0.4, 1.0}) {
    const TensorFunction function = [p](const Inputs& x) {
      Generator generator(3);
      return dropout(x[0] * x[0], p, true, generator);
    };
    CHECK_NOTHROW(gradcheck(function, {spread_leaf({3, 4})}));
    CHECK_NOTHROW(gradgradcheck(function, {spread_leaf({3, 4})}));
  }
  const Tensor x = spread_leaf({3});
  CHECK(dropout(x, 0.5, false).is_same(x));
}

TEST_CASE("gradients have the dtype and shape of their tensor") {
  Tensor a = ones({3, 1}, {.dtype = kBFloat16}), b = ones({1, 4}, {.dtype = kFloat64}), c = ones({});
  for (Tensor* x : {&a, &b, &c}) x->set_requires_grad();
  const Tensor y = cast(a * b + c, kFloat16);
  CHECK(y.dtype() == kFloat16);
  sum(y).backward();
  check_close(a.grad(), full({3, 1}, 4, {.dtype = kBFloat16}), 0);
  check_close(b.grad(), full({1, 4}, 3, {.dtype = kFloat64}), 0);
  check_close(c.grad(), full({}, 12), 0);
  CHECK(a.grad().dtype() == kBFloat16);
  CHECK(b.grad().dtype() == kFloat64);
  CHECK(c.grad().dtype() == kFloat32);
}

namespace {

using Unary = Tensor (*)(const Tensor&);

Tensor apply(const OracleCase& entry, const Tensor& x, const Tensor& other) {
  static const std::vector<std::pair<std::string, Unary>> unary = {{"neg", neg},
                                                                   {"abs", abs},
                                                                   {"square", square},
                                                                   {"exp", exp},
                                                                   {"log", log},
                                                                   {"log1p", log1p},
                                                                   {"sqrt", sqrt},
                                                                   {"rsqrt", rsqrt},
                                                                   {"reciprocal", reciprocal},
                                                                   {"sin", sin},
                                                                   {"cos", cos},
                                                                   {"erf", erf},
                                                                   {"relu", relu},
                                                                   {"sigmoid", sigmoid},
                                                                   {"tanh", tanh},
                                                                   {"gelu", gelu},
                                                                   {"gelu_tanh", gelu_tanh},
                                                                   {"silu", silu},
                                                                   {"sign", sign},
                                                                   {"floor", floor},
                                                                   {"ceil", ceil},
                                                                   {"round", round},
                                                                   {"isnan", isnan},
                                                                   {"isinf", isinf},
                                                                   {"isfinite", isfinite},
                                                                   {"logical_not", logical_not}};
  static const std::vector<std::pair<std::string, Tensor (*)(const Tensor&, const Tensor&)>> binary = {
      {"add", [](auto& a, auto& b) { return add(a, b); }},
      {"sub", sub},
      {"mul", mul},
      {"div", div},
      {"pow", pow},
      {"maximum", maximum},
      {"minimum", minimum},
      {"eq", eq},
      {"ne", ne},
      {"lt", lt},
      {"le", le},
      {"gt", gt},
      {"ge", ge},
      {"logical_and", logical_and},
      {"logical_or", logical_or},
      {"where", [](auto& a, auto& b) { return where(gt(a, b), a, b); }},
      {"lerp", [](auto& a, auto& b) { return lerp(a, b, 0.75); }}};
  for (const auto& [name, function] : unary) {
    if (entry.op == name) return function(x);
  }
  for (const auto& [name, function] : binary) {
    if (entry.op == name) return function(x, other);
  }
  if (entry.op == "clamp") return clamp(x, entry.number("low"), entry.number("high"));
  if (entry.op == "leaky_relu") return leaky_relu(x, entry.number("slope"));
  if (entry.op == "pow_number") return pow(x, entry.number("exponent"));
  if (entry.op == "number_pow") return pow(entry.number("base"), x);
  if (entry.op == "add_number") return x + entry.number("number");
  if (entry.op == "mul_integer") return x * int64_t(entry.number("number"));
  if (entry.op == "add_scaled") return add(x, other, entry.number("alpha"));
  FAIL("the oracle has an op that this test does not know: " << entry.op);
  return {};
}

}  // namespace

TEST_CASE("derivatives of elementwise functions on a GPU are the CPU's") {
  for (const UnaryCase& c : kUnary) {
    INFO(c.name);
    check_gpu_derivatives([&](const Inputs& in) { return c.function(in[0]); },
                          {c.positive ? positive_leaf({6, 7}) : spread_leaf({6, 7})}, 4,
                          {kFloat64, kFloat32});
  }
  check_gpu_derivatives(
      [](const Inputs& in) {
        Generator generator(3);
        return dropout(in[0] * in[0], 0.4, true, generator);
      },
      {spread_leaf({6, 7})}, 4, {kFloat64, kFloat32});
  for (const BinaryCase& c : kBinary) {
    INFO(c.name);
    check_gpu_derivatives([&](const Inputs& in) { return c.function(in[0], in[1]); },
                          {c.positive ? positive_leaf({6, 7}) : spread_leaf({6, 7}), spread_leaf({6, 7}, 1)},
                          4, {kFloat64, kFloat32});
    check_gpu_derivatives(
        [&](const Inputs& in) { return c.function(in[0], in[1]); },
        {c.positive ? positive_leaf({2, 1, 3}) : spread_leaf({2, 1, 3}), spread_leaf({4, 1}, 1)}, 12,
        {kFloat64, kFloat32});
  }
}

TEST_CASE("elementwise ops and their gradients give PyTorch's numbers", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const OracleCase& entry : oracle_cases("elementwise_gradient")) {
    INFO(entry.name << " on " << device.str());
    const auto input = [&](const char* of) {
      const Tensor tensor = entry[of];
      return tensor.defined() ? ops::to_device(tensor.detach(), device) : tensor;
    };
    Tensor x = input("x"), other = input("other");
    const bool has_gradient = entry["grad_x"].defined();
    if (has_gradient) x.set_requires_grad();
    if (has_gradient && entry["grad_other"].defined()) other.set_requires_grad();
    const Tensor y = apply(entry, x, other);
    const Tensor expected = entry["y"];
    CHECK(y.dtype() == expected.dtype());
    // Powers magnify the relative error of the logarithm by |b log a|, here at most 8.
    const double factor = entry.op.find("pow") == std::string::npos ? 1 : 8;
    check_close(y, expected, factor * tolerance(y.dtype()));
    if (!has_gradient) continue;
    y.backward(ops::to_device(oracle_gradient(y), device));
    check_close(x.grad(), entry["grad_x"],
                factor * tolerance(x.dtype(), y.numel() / std::max<int64_t>(x.numel(), 1)));
    if (!entry["grad_other"].defined()) continue;
    check_close(other.grad(), entry["grad_other"],
                factor * tolerance(other.dtype(), y.numel() / std::max<int64_t>(other.numel(), 1)));
  }
}
