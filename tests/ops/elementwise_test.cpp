// Elementwise ops: values against the C library in f64, over dtypes, layouts and odd shapes; promotion rules;
// in-place writes.

#include "taper/ops/elementwise/elementwise.h"

#include <functional>
#include <limits>
#include <numbers>

#include "taper/core/base/parallel.h"
#include "taper/core/views.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise_op.h"
#include "taper/ops/elementwise/formulas.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

using namespace taper;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<double> values(const Tensor& x) {
  return ops::to_vector<double>(x);
}

/// Returns values between -3 and 3 without pattern or repetition, rounded to `dtype`.
Tensor wavy(const Shape& shape, DType dtype = kFloat64, double phase = 0, Device device = kCPU) {
  std::vector<double> data(size_t(numel(shape)));
  for (size_t i = 0; i < data.size(); ++i) data[i] = 3 * std::sin(1.7 * double(i) + phase);
  return ops::to_device(ops::cast(from_vector(data, shape), dtype), device);
}

struct Unary {
  const char* name;
  Tensor (*op)(const Tensor&);
  double (*exact)(double);
  bool positive = false;  ///< defined for x > 0 alone
};

const std::vector<Unary> kUnary = {
    {"neg", ops::neg, [](double x) { return -x; }},
    {"abs", ops::abs, [](double x) { return std::fabs(x); }},
    {"sign", ops::sign, [](double x) { return double(x > 0) - double(x < 0); }},
    {"square", ops::square, [](double x) { return x * x; }},
    {"floor", ops::floor, [](double x) { return std::floor(x); }},
    {"ceil", ops::ceil, [](double x) { return std::ceil(x); }},
    {"round", ops::round, [](double x) { return std::nearbyint(x); }},
    {"exp", ops::exp, [](double x) { return std::exp(x); }},
    {"log", ops::log, [](double x) { return std::log(x); }, true},
    {"log1p", ops::log1p, [](double x) { return std::log1p(x); }, true},
    {"sqrt", ops::sqrt, [](double x) { return std::sqrt(x); }, true},
    {"rsqrt", ops::rsqrt, [](double x) { return 1 / std::sqrt(x); }, true},
    {"reciprocal", ops::reciprocal, [](double x) { return 1 / x; }},
    {"sin", ops::sin, [](double x) { return std::sin(x); }},
    {"cos", ops::cos, [](double x) { return std::cos(x); }},
    {"erf", ops::erf, [](double x) { return std::erf(x); }},
    {"relu", ops::relu, [](double x) { return std::max(x, 0.0); }},
    {"sigmoid", ops::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }},
    {"tanh", ops::tanh, [](double x) { return std::tanh(x); }},
    {"gelu", ops::gelu, [](double x) { return x * 0.5 * std::erfc(-x * std::sqrt(0.5)); }},
    {"gelu_tanh", ops::gelu_tanh,
     [](double x) {
       return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
     }},
    {"silu", ops::silu, [](double x) { return x / (1 + std::exp(-x)); }},
};

struct Binary {
  const char* name;
  std::function<Tensor(const Tensor&, const Tensor&)> op;
  double (*exact)(double, double);
};

const std::vector<Binary> kBinary = {
    {"add", [](auto& a, auto& b) { return ops::add(a, b); }, [](double a, double b) { return a + b; }},
    {"add scaled", [](auto& a, auto& b) { return ops::add(a, b, -2); },
     [](double a, double b) { return a - 2 * b; }},
    {"sub", [](auto& a, auto& b) { return ops::sub(a, b); }, [](double a, double b) { return a - b; }},
    {"mul", [](auto& a, auto& b) { return ops::mul(a, b); }, [](double a, double b) { return a * b; }},
    {"div", [](auto& a, auto& b) { return ops::div(a, b); }, [](double a, double b) { return a / b; }},
    {"maximum", [](auto& a, auto& b) { return ops::maximum(a, b); },
     [](double a, double b) { return std::max(a, b); }},
    {"minimum", [](auto& a, auto& b) { return ops::minimum(a, b); },
     [](double a, double b) { return std::min(a, b); }},
    {"lerp", [](auto& a, auto& b) { return ops::lerp(a, b, 0.25); },
     [](double a, double b) { return a + 0.25 * (b - a); }},
    {"pow", [](auto& a, auto& b) { return ops::pow(ops::abs(a), b); },
     [](double a, double b) { return std::pow(std::fabs(a), b); }},
    {"relu_backward", [](auto& a, auto& b) { return ops::relu_backward(a, b); },
     [](double a, double b) { return b > 0 ? a : 0; }},
    {"eq", [](auto& a, auto& b) { return ops::eq(a, b); }, [](double a, double b) { return double(a == b); }},
    {"ne", [](auto& a, auto& b) { return ops::ne(a, b); }, [](double a, double b) { return double(a != b); }},
    {"lt", [](auto& a, auto& b) { return ops::lt(a, b); }, [](double a, double b) { return double(a < b); }},
    {"le", [](auto& a, auto& b) { return ops::le(a, b); }, [](double a, double b) { return double(a <= b); }},
    {"gt", [](auto& a, auto& b) { return ops::gt(a, b); }, [](double a, double b) { return double(a > b); }},
    {"ge", [](auto& a, auto& b) { return ops::ge(a, b); }, [](double a, double b) { return double(a >= b); }},
    {"where", [](auto& a, auto& b) { return ops::where(ops::gt(a, 0), a, b); },
     [](double a, double b) { return a > 0 ? a : b; }},
};

}  // namespace

TEST_CASE("unary ops give the C library's values in every float dtype, layout and size") {
  const Device device = GENERATE(from_range(test_devices()));
  const PoisonedMemory poisoned;
  for (const Unary& unary : kUnary) {
    for (const DType dtype : {kFloat64, kFloat32, kFloat16, kBFloat16}) {
      for (const Shape& shape : {Shape{}, {0}, {1}, {13, 7}, {2, 3, 1, 5}, {1025}, {40'001}}) {
        INFO(device.str() << " " << unary.name << " " << name(dtype) << " " << shape.str());
        Tensor x = wavy(shape, dtype, 0, device);
        if (unary.positive) x = ops::cast(ops::add(ops::abs(x), 0.01), dtype);
        std::vector<double> expected = values(x);
        for (double& value : expected) value = unary.exact(value);
        const Tensor y = unary.op(x);
        CHECK(y.dtype() == dtype);
        check_close(values(y), expected, tolerance(dtype));
        if (x.dim() < 2) continue;
        // A transposed input keeps its strides; every second column comes out dense.
        const Tensor swapped = unary.op(views::transpose(x, 0, 1));
        CHECK(swapped.strides() == views::transpose(x, 0, 1).strides());
        CHECK(values(views::transpose(swapped, 0, 1)) == values(y));
        CHECK(values(unary.op(views::slice(x, 1, 0, 7, 2))) == values(views::slice(y, 1, 0, 7, 2)));
      }
    }
  }
}

TEST_CASE("binary ops broadcast over every layout") {
  const Device device = GENERATE(from_range(test_devices()));
  const std::vector<std::pair<Shape, Shape>> shapes = {{{}, {}},
                                                       {{5}, {5}},
                                                       {{7, 1}, {1, 3}},
                                                       {{2, 3, 5, 7}, {3, 1, 1}},
                                                       {{3, 1, 1}, {2, 3, 5, 7}},
                                                       {{2, 0, 3}, {3}},
                                                       {{2, 3, 4, 5}, {2, 1, 4, 1}},
                                                       {{33, 1025}, {1025}},
                                                       {{}, {4}}};
  for (const Binary& binary : kBinary) {
    for (const DType dtype : {kFloat64, kFloat32, kBFloat16}) {
      for (const auto& [shape_a, shape_b] : shapes) {
        INFO(device.str() << " " << binary.name << " " << name(dtype) << " " << shape_a.str() << " "
                          << shape_b.str());
        const Tensor a = wavy(shape_a, dtype, 0, device), b = wavy(shape_b, dtype, 1.1, device);
        const Shape shape = broadcast_shapes(shape_a, shape_b, "test");
        std::vector<double> expected = values(views::expand(a, shape));
        const std::vector<double> right = values(views::expand(b, shape));
        for (size_t i = 0; i < expected.size(); ++i) expected[i] = binary.exact(expected[i], right[i]);
        const Tensor y = binary.op(a, b);
        CHECK(y.shape() == shape);
        // A power doubles the relative error of |b log a|.
        const double factor = std::string(binary.name) == "pow" ? 4 : 1;
        check_close(values(y), expected, factor * tolerance(dtype));
        if (a.dim() == 4) {
          const Tensor last = binary.op(ops::contiguous(a, kChannelsLast), b);
          CHECK(values(last) == values(y));
          if (shape_a == shape) CHECK(last.is_contiguous(kChannelsLast));
        }
      }
    }
  }
}

TEST_CASE("numbers on either side") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = ops::to_device(from_vector<double>({-2, -0.5, 0, 3}), device);
  CHECK(values(ops::add(x, 1)) == std::vector<double>{-1, 0.5, 1, 4});
  CHECK(values(ops::sub(x, 1)) == std::vector<double>{-3, -1.5, -1, 2});
  CHECK(values(ops::sub(1, x)) == std::vector<double>{3, 1.5, 1, -2});
  CHECK(values(ops::mul(x, -2)) == std::vector<double>{4, 1, 0, -6});
  CHECK(values(ops::div(x, 2)) == std::vector<double>{-1, -0.25, 0, 1.5});
  CHECK(values(ops::div(3, x)) == std::vector<double>{-1.5, -6, kInfinity, 1});
  check_close(values(ops::pow(2, x)), {0.25, std::sqrt(0.5), 1, 8}, tolerance(kFloat64));
  CHECK(values(ops::maximum(x, 0.5)) == std::vector<double>{0.5, 0.5, 0.5, 3});
  CHECK(values(ops::minimum(x, 0.5)) == std::vector<double>{-2, -0.5, 0, 0.5});
  CHECK(values(ops::clamp(x, -1, 1)) == std::vector<double>{-1, -0.5, 0, 1});
  CHECK(values(ops::clamp(x, {}, 1)) == std::vector<double>{-2, -0.5, 0, 1});
  CHECK(values(ops::clamp(x, -1)) == std::vector<double>{-1, -0.5, 0, 3});
  CHECK(values(ops::leaky_relu(x, 0.1)) == std::vector<double>{-0.2, -0.05, 0, 3});
  CHECK(values(ops::where(ops::lt(x, 0), 7, x)) == std::vector<double>{7, 7, 0, 3});
  CHECK(values(ops::where(ops::lt(x, 0), x, 7)) == std::vector<double>{-2, -0.5, 7, 7});
  for (const double exponent : {2.0, 0.5, -0.5, -1.0, 3.0, 0.0}) {
    const Tensor positive = wavy({31}, kFloat64, 0, device);
    std::vector<double> expected = values(ops::abs(positive));
    for (double& value : expected) value = std::pow(value, exponent);
    check_close(values(ops::pow(ops::abs(positive), exponent)), expected, tolerance(kFloat64));
  }
}

TEST_CASE("special values follow IEEE 754 and PyTorch") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x =
      ops::to_device(from_vector<float>({NAN, INFINITY, -INFINITY, -0.0f, 0.0f, 1e-40f, -1.0f}), device);
  check_close(values(ops::exp(x)), {kNaN, kInfinity, 0, 1, 1, 1, std::exp(-1)}, tolerance(kFloat32));
  check_close(values(ops::log(x)),
              {kNaN, kInfinity, kNaN, -kInfinity, -kInfinity, std::log(double(1e-40f)), kNaN},
              tolerance(kFloat32));
  check_close(values(ops::tanh(x)), {kNaN, 1, -1, 0, 0, double(1e-40f), std::tanh(-1)}, tolerance(kFloat32));
  check_close(values(ops::sigmoid(x)), {kNaN, 1, 0, 0.5, 0.5, 0.5, 1 / (1 + M_E)}, tolerance(kFloat32));
  check_close(values(ops::erf(x)), {kNaN, 1, -1, 0, 0, 2 / std::sqrt(M_PI) * double(1e-40f), std::erf(-1)},
              tolerance(kFloat32));
  check_close(values(ops::relu(x)), {kNaN, kInfinity, 0, 0, 0, double(1e-40f), 0}, 0);
  CHECK(values(ops::isnan(x)) == std::vector<double>{1, 0, 0, 0, 0, 0, 0});
  CHECK(values(ops::isinf(x)) == std::vector<double>{0, 1, 1, 0, 0, 0, 0});
  CHECK(values(ops::isfinite(x)) == std::vector<double>{0, 0, 0, 1, 1, 1, 1});
  CHECK(values(ops::logical_not(x)) == std::vector<double>{0, 0, 0, 1, 1, 0, 0});
  check_close(values(ops::maximum(x, 0)), {kNaN, kInfinity, 0, 0, 0, double(1e-40f), 0}, 0);
  check_close(values(ops::minimum(ops::full({1}, 0, {.device = device}), x)),
              {kNaN, 0, -kInfinity, 0, 0, 0, -1}, 0);
  check_close(values(ops::clamp(x, -1, 1)), {kNaN, 1, -1, 0, 0, double(1e-40f), -1}, 0);
  CHECK(values(ops::round(ops::to_device(from_vector<float>({0.5f, 1.5f, 2.5f, -0.5f}), device))) ==
        std::vector<double>{0, 2, 2, 0});
}

TEST_CASE("f32 functions are within the promised distance of the exact value") {
  struct Function {
    const char* name;
    float (*ours)(float);
    double (*exact)(double);
    double ulps;
  };
  namespace vm = ops::vector_math;
  const std::vector<Function> functions = {
      {"exp", [](float x) { return vm::exp(x); }, [](double x) { return std::exp(x); }, 1.5},
      {"log", [](float x) { return vm::log(x); }, [](double x) { return std::log(x); }, 1.5},
      {"tanh", [](float x) { return vm::tanh(x); }, [](double x) { return std::tanh(x); }, 1.5},
      {"erf", [](float x) { return vm::erf(x); }, [](double x) { return std::erf(x); }, 1.5},
      {"sigmoid", [](float x) { return ops::formulas::sigmoid(x); },
       [](double x) { return 1 / (1 + std::exp(-x)); }, 2.5},
  };
  for (const Function& function : functions) {
    INFO(function.name);
    double worst = 0;
    // Every 1009th of all floats.
    for (uint64_t bits = 0; bits < uint64_t(1) << 32; bits += 1009) {
      const float x = std::bit_cast<float>(uint32_t(bits));
      const double exact = function.exact(x);
      const float ours = function.ours(x);
      if (std::isnan(exact)) {
        REQUIRE(std::isnan(ours));
      } else if (std::fabs(exact) > std::numeric_limits<float>::max()) {
        REQUIRE(std::isinf(ours));
      } else if (std::fabs(exact) >= std::numeric_limits<float>::min()) {
        worst = std::max(worst, std::fabs(ours - exact) / std::ldexp(1, std::ilogb(float(exact)) - 23));
      } else {
        REQUIRE(std::fabs(ours - exact) <= 2e-38);
      }
    }
    CHECK(worst <= function.ulps);
  }
}

TEST_CASE("dtypes promote as in PyTorch") {
  const auto tensor = [](DType dtype) { return ops::ones({2}, {.dtype = dtype}); };
  CHECK(ops::add(tensor(kInt64), tensor(kFloat16)).dtype() == kFloat16);
  CHECK(ops::add(tensor(kBFloat16), tensor(kFloat16)).dtype() == kFloat32);
  CHECK(ops::add(tensor(kUInt8), tensor(kInt32)).dtype() == kInt32);
  CHECK(ops::add(tensor(kBool), tensor(kBool)).dtype() == kBool);
  CHECK(ops::add(tensor(kBool), 1).dtype() == kInt64);
  CHECK(ops::add(tensor(kInt32), 1).dtype() == kInt32);
  CHECK(ops::add(tensor(kInt32), 1.5).dtype() == kFloat32);
  CHECK(ops::add(tensor(kBFloat16), 1.5).dtype() == kBFloat16);
  CHECK(ops::add(tensor(kFloat32), ops::ones({}, {.dtype = kFloat64})).dtype() == kFloat32);
  CHECK(ops::add(tensor(kInt64), ops::ones({}, {.dtype = kFloat64})).dtype() == kFloat64);
  CHECK(ops::div(tensor(kInt64), tensor(kInt64)).dtype() == kFloat32);
  CHECK(ops::exp(tensor(kInt64)).dtype() == kFloat32);
  CHECK(ops::floor(tensor(kInt64)).dtype() == kInt64);
  CHECK(ops::relu(tensor(kInt32)).dtype() == kInt32);
  CHECK(ops::eq(tensor(kInt32), tensor(kFloat64)).dtype() == kBool);
  CHECK(ops::where(tensor(kBool), tensor(kInt32), 0.5).dtype() == kFloat32);
}

TEST_CASE("integers compute exactly and wrap around") {
  const Device device = GENERATE(from_range(test_devices()));
  const auto integers = [&](const std::vector<int64_t>& v) { return ops::to_device(from_vector(v), device); };
  const int64_t big = (int64_t(1) << 62) + 1;
  const Tensor x = integers({big, -7, 3});
  CHECK(ops::to_vector<int64_t>(ops::add(x, 2)) == std::vector<int64_t>{big + 2, -5, 5});
  CHECK(ops::to_vector<int64_t>(ops::mul(x, 4)) == std::vector<int64_t>{4, -28, 12});
  CHECK(values(ops::eq(x, integers({big + 1, -7, 3}))) == std::vector<double>{0, 1, 1});
  CHECK(ops::to_vector<int64_t>(ops::pow(integers({-3, 2, 0}), 3)) == std::vector<int64_t>{-27, 8, 0});
  CHECK(ops::to_vector<int64_t>(ops::pow(integers({-1, 2, 1}), integers({-3, -1, -2}))) ==
        std::vector<int64_t>{-1, 0, 1});
  CHECK(ops::to_vector<uint8_t>(ops::add(ops::to_device(from_vector<uint8_t>({250, 1}), device), 10)) ==
        std::vector<uint8_t>{4, 11});
  CHECK(ops::to_vector<int64_t>(ops::neg(integers({INT64_MIN}))) == std::vector<int64_t>{INT64_MIN});
  const Tensor truth = ops::to_device(from_vector<float>({0, 1, 2}), device);
  const Tensor other = ops::to_device(from_vector<float>({1, 0, NAN}), device);
  CHECK(values(ops::logical_and(truth, other)) == std::vector<double>{0, 0, 1});
  CHECK(values(ops::logical_or(truth, ops::zeros({3}, {.device = device}))) == std::vector<double>{0, 1, 1});
}

TEST_CASE("in-place ops write through views and bump the version") {
  const Device device = GENERATE(from_range(test_devices()));
  const TensorOptions there = {.device = device};
  const Tensor x = ops::zeros({4, 3}, there);
  const Tensor column = views::select(x, 1, 1);
  const uint32_t version = x.version();
  ops::add_(column, ops::arange(0, 4, 1, {.dtype = kInt64, .device = device}), 2);
  CHECK(values(x) == std::vector<double>{0, 0, 0, 0, 2, 0, 0, 4, 0, 0, 6, 0});
  CHECK(x.version() == version + 1);
  ops::mul_(x, ops::to_device(from_vector<float>({1, -1, 1}), device));
  ops::add_(x, 1);
  CHECK(values(x) == std::vector<double>{1, 1, 1, 1, -1, 1, 1, -3, 1, 1, -5, 1});
  ops::relu_(x);
  ops::div_(x, 2);
  CHECK(values(x) == std::vector<double>{.5, .5, .5, .5, 0, .5, .5, 0, .5, .5, 0, .5});
  ops::add_(x, x);
  CHECK(values(x) == std::vector<double>{1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1});
  const Tensor curved = wavy({5}, kFloat32, 0, device), before = ops::clone(curved);
  ops::gelu_tanh_(curved);
  CHECK(values(curved) == values(ops::gelu_tanh(before)));
  const Tensor y = ops::arange(0, 5, 1, {.dtype = kInt64, .device = device});
  ops::add_(views::slice(y, 0, 1, 5), views::slice(y, 0, 0, 4));
  CHECK(values(y) == std::vector<double>{0, 1, 3, 5, 7});
  const Tensor half = ops::ones({3}, {.dtype = kBFloat16, .device = device});
  ops::add_(half, ops::full({3}, 0.25, {.dtype = kFloat64, .device = device}));
  CHECK(half.dtype() == kBFloat16);
  CHECK(values(half) == std::vector<double>(3, 1.25));
}

TEST_CASE("rows, repeats and scattered elements of mixed dtypes on the GPU give the CPU's numbers") {
  // Packs of 4 and 8, tails, rows too short or misaligned for packs, and every mixture of dtypes.
  const Device gpu("cuda");
  for (const Shape& shape : {Shape{3, 5, 16}, {7, 12}, {1027}, {2, 3, 4, 20}}) {
    for (const DType dtype_a : {kFloat32, kBFloat16, kInt32, kUInt8}) {
      for (const DType dtype_b : {kFloat32, kFloat16, kBFloat16, kFloat64, kInt64, kBool}) {
        INFO(name(dtype_a) << " " << name(dtype_b) << " " << shape.str());
        const Tensor a = ops::abs(wavy(shape, kFloat64)), b = wavy(shape, dtype_b, 1.1);
        const Tensor x = ops::cast(a, dtype_a), x_gpu = ops::to_device(x, gpu),
                     b_gpu = ops::to_device(b, gpu);
        const int64_t last = shape.size() - 1, width = shape[last];
        const auto cut = [&](const Tensor& t) { return views::slice(t, last, 1, width); };
        const auto one = [&](const Tensor& t) { return views::narrow(t, last, 2, 1); };
        const auto row = [&](const Tensor& t) { return t.dim() > 1 ? views::select(t, 0, 1) : t; };
        check_close(ops::mul(x_gpu, b_gpu), ops::mul(x, b));
        check_close(ops::mul(cut(x_gpu), cut(b_gpu)), ops::mul(cut(x), cut(b)));
        check_close(ops::add(x_gpu, one(b_gpu)), ops::add(x, one(b)));
        check_close(ops::add(row(x_gpu), b_gpu, 2), ops::add(row(x), b, 2));
        CHECK(values(ops::lt(x_gpu, b_gpu)) == values(ops::lt(x, b)));
        check_close(ops::where(ops::gt(b_gpu, 0), x_gpu, b_gpu), ops::where(ops::gt(b, 0), x, b));
      }
    }
  }
}

TEST_CASE("CPU tensors without dimensions are numbers to GPU tensors") {
  const Device gpu("cuda");
  const Tensor x = ops::to_device(from_vector<float>({1, 2, 3}), gpu), two = ops::full({}, 2);
  for (const Tensor& y : {ops::mul(x, two), ops::mul(two, x), ops::add(x, x, 1)}) {
    CHECK(y.device() == gpu);
    CHECK(y.dtype() == kFloat32);
    CHECK(values(y) == std::vector<double>{2, 4, 6});
  }
  CHECK(values(ops::where(ops::gt(x, two), x, two)) == std::vector<double>{2, 2, 3});
  ops::add_(x, ops::full({}, 0.5, {.dtype = kFloat64}));
  CHECK(values(x) == std::vector<double>{1.5, 2.5, 3.5});
  const Tensor big = ops::to_device(from_vector<int64_t>({(int64_t(1) << 62) + 1}), gpu);
  CHECK(ops::to_vector<int64_t>(ops::sub(big, ops::full({}, 1, {.dtype = kInt64})))[0] == int64_t(1) << 62);
  CHECK_THROWS_WITH(ops::mul(x, from_vector<float>({2})), Catch::Contains("tensors are on cuda:0 and cpu"));
  CHECK_THROWS_WITH(ops::add_(two, x), Catch::Contains("tensors are on cpu and cuda:0"));
}

TEST_CASE("bad arguments get one clear line") {
  const Tensor x = ops::ones({2, 3}), integers = ops::ones({2}, {.dtype = kInt64});
  const Tensor truth = ops::ones({2}, {.dtype = kBool});
  CHECK_THROWS_WITH(ops::add(x, ops::ones({2})),
                    "add: shapes [2, 3] and [2] do not broadcast: sizes 3 and 2 differ and neither is 1");
  CHECK_THROWS_WITH(ops::mul(Tensor(), x), "mul: the input is an undefined tensor");
  CHECK_THROWS_WITH(ops::add_(ops::ones({3}), x), Catch::Contains("does not broadcast into [3]"));
  CHECK_THROWS_WITH(ops::add_(integers, 0.5), Catch::Contains("f32 does not go into a tensor of i64"));
  CHECK_THROWS_WITH(ops::div_(integers, integers), Catch::Contains("div_"));
  CHECK_THROWS_WITH(ops::add(integers, integers, 0.5), Catch::Contains("alpha = 0.5 must be an integer"));
  CHECK_THROWS_WITH(ops::sub(truth, truth), Catch::Contains("bool tensors have no difference"));
  CHECK_THROWS_WITH(ops::neg(truth), Catch::Contains("bool"));
  CHECK_THROWS_WITH(ops::pow(integers, -1), Catch::Contains("no power -1"));
  CHECK_THROWS_WITH(ops::where(x, x, x), Catch::Contains("condition must be bool"));
  CHECK_THROWS_WITH(ops::clamp(x, {}, {}), Catch::Contains("needs a lower or an upper bound"));
  CHECK_THROWS_WITH(ops::gelu(integers), Catch::Contains("gelu: needs a floating-point tensor, got i64"));
  CHECK_THROWS_WITH(ops::add_(views::expand(ops::ones({1}), {3}), 1), Catch::Contains("share memory"));
}

TEST_CASE("every op has the name of its function") {
  using enum ops::ElementwiseOp;
  const std::vector<std::pair<ops::ElementwiseOp, std::string>> names = {{kNeg, "neg"},
                                                                         {kSilu, "silu"},
                                                                         {kIsFinite, "isfinite"},
                                                                         {kAdd, "add"},
                                                                         {kReluBackward, "relu_backward"},
                                                                         {kEq, "eq"},
                                                                         {kGe, "ge"},
                                                                         {kLogicalOr, "logical_or"},
                                                                         {kAddScaled, "add"},
                                                                         {kWhere, "where"}};
  for (const auto& [op, text] : names) CHECK(name(op) == text);
}
