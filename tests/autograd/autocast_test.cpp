// Autocast: which dtypes ops run in, what it costs, and what it leaves alone.

#include "taper/autograd/tape/autocast.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "oracle.h"
#include "taper/autograd/functions.h"
#include "taper/autograd/tape/autocast_policy.h"
#include "taper/autograd/tape/checkpoint.h"
#include "taper/autograd/tape/engine.h"
#include "taper/autograd/tape/function.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/autograd/tape/graph_drawing.h"
#include "taper/autograd/tape/op_trace.h"
#include "taper/autograd/tape/weight_copy.h"
#include "test_tensors.h"
#include "tolerance.h"

using namespace taper;
using Catch::Matchers::Contains;

namespace {

using Tensors = std::vector<Tensor>;
using OpOf = std::function<Tensor(const Tensors&)>;

Tensor on(const Tensors& inputs, const Tensor& x) {
  return x.to(inputs[0].device());
}

Tensor normed(const Tensors& x, const Tensor& residual) {
  const Tensor mean = on(x, zeros({3})), var = on(x, ones({3}));
  return batch_norm(x[0], {}, {}, mean, var, true, {}, residual);
}

/// Ops by their names in tests/oracle/autocast_oracle.py.
const std::map<std::string, OpOf>& ops_by_name() {
  static const Tensor classes = from_vector<int64_t>({0, 2});
  static const Tensor rows = from_vector<int64_t>({1, 0});
  static const Tensor index = from_vector<int64_t>({0, 1, 2, 2, 1, 0}, {2, 3});
  static const std::map<std::string, OpOf> ops = {
      {"conv2d", [](const Tensors& x) { return conv2d(x[0], x[1], x[2]); }},
      {"matmul", [](const Tensors& x) { return matmul(x[0], x[1]); }},
      {"bmm", [](const Tensors& x) { return bmm(x[0], x[1]); }},
      {"linear", [](const Tensors& x) { return linear(x[0], x[1], x[2]); }},
      {"cross_entropy", [](const Tensors& x) { return cross_entropy(x[0], on(x, classes)); }},
      {"nll_loss", [](const Tensors& x) { return nll_loss(x[0], on(x, classes)); }},
      {"mse_loss", [](const Tensors& x) { return mse_loss(x[0], x[1]); }},
      {"binary_cross_entropy_with_logits",
       [](const Tensors& x) { return binary_cross_entropy_with_logits(x[0], x[1]); }},
      {"softmax", [](const Tensors& x) { return softmax(x[0], 1); }},
      {"log_softmax", [](const Tensors& x) { return log_softmax(x[0], 1); }},
      {"batch_norm", [](const Tensors& x) { return normed(x, {}); }},
      {"batch_norm + residual", [](const Tensors& x) { return normed(x, x[1]); }},
      {"max_pool2d", [](const Tensors& x) { return max_pool2d(x[0], {.kernel = 2}); }},
      {"avg_pool2d", [](const Tensors& x) { return avg_pool2d(x[0], {.kernel = 2}); }},
      {"adaptive_avg_pool2d", [](const Tensors& x) { return adaptive_avg_pool2d(x[0], 1); }},
      {"index_select", [](const Tensors& x) { return index_select(x[0], 0, on(x, rows)); }},
      {"gather", [](const Tensors& x) { return gather(x[0], 1, on(x, index)); }},
      {"scatter_add", [](const Tensors& x) { return scatter_add(x[0], 1, on(x, index), x[1]); }},
      {"index_add", [](const Tensors& x) { return index_add(x[0], 0, on(x, rows), x[1]); }},
      {"cat",
       [](const Tensors& x) {
         return cat({x[0], x[1]}, 0);
       }},
      {"stack",
       [](const Tensors& x) {
         return stack({x[0], x[1]}, 0);
       }},
      {"flip", [](const Tensors& x) { return flip(x[0], {0}); }},
      {"pad",
       [](const Tensors& x) {
         return pad(x[0], {1, 1}, 0);
       }},
      {"where", [](const Tensors& x) { return where(gt(on(x, index), 0), x[0], x[1]); }},
      {"pow scalar", [](const Tensors& x) { return pow(x[0], 2.0); }},
      {"pow", [](const Tensors& x) { return pow(x[0], x[1]); }},
      {"clamp", [](const Tensors& x) { return clamp(x[0], 0.2, 0.8); }},
      {"leaky_relu", [](const Tensors& x) { return leaky_relu(x[0]); }},
      {"gelu", [](const Tensors& x) { return gelu(x[0]); }},
      {"gelu_tanh", [](const Tensors& x) { return gelu_tanh(x[0]); }},
      {"silu", [](const Tensors& x) { return silu(x[0]); }},
      {"sum", [](const Tensors& x) { return sum(x[0]); }},
      {"sum axes", [](const Tensors& x) { return sum(x[0], {1}); }},
      {"mean", [](const Tensors& x) { return mean(x[0]); }},
      {"var", [](const Tensors& x) { return var(x[0], {1}); }},
      {"std", [](const Tensors& x) { return taper::std(x[0], {1}); }},
      {"norm", [](const Tensors& x) { return norm(x[0]); }},
      {"amax", [](const Tensors& x) { return amax(x[0]); }},
      {"view",
       [](const Tensors& x) {
         return view(x[0], {3, 2});
       }},
      {"add", [](const Tensors& x) { return x[0] + x[1]; }},
      {"sub", [](const Tensors& x) { return x[0] - x[1]; }},
      {"mul", [](const Tensors& x) { return x[0] * x[1]; }},
      {"div", [](const Tensors& x) { return x[0] / x[1]; }},
      {"maximum", [](const Tensors& x) { return maximum(x[0], x[1]); }},
      {"minimum", [](const Tensors& x) { return minimum(x[0], x[1]); }},
      {"exp", [](const Tensors& x) { return exp(x[0]); }},
      {"log", [](const Tensors& x) { return log(x[0]); }},
      {"log1p", [](const Tensors& x) { return log1p(x[0]); }},
      {"sqrt", [](const Tensors& x) { return sqrt(x[0]); }},
      {"rsqrt", [](const Tensors& x) { return rsqrt(x[0]); }},
      {"reciprocal", [](const Tensors& x) { return reciprocal(x[0]); }},
      {"square", [](const Tensors& x) { return square(x[0]); }},
      {"abs", [](const Tensors& x) { return abs(x[0]); }},
      {"neg", [](const Tensors& x) { return -x[0]; }},
      {"sin", [](const Tensors& x) { return sin(x[0]); }},
      {"cos", [](const Tensors& x) { return cos(x[0]); }},
      {"erf", [](const Tensors& x) { return erf(x[0]); }},
      {"relu", [](const Tensors& x) { return relu(x[0]); }},
      {"sigmoid", [](const Tensors& x) { return sigmoid(x[0]); }},
      {"tanh", [](const Tensors& x) { return tanh(x[0]); }}};
  return ops;
}

/// What PyTorch's documentation lists under "CUDA Ops that can autocast to float32", of these ops. They have a
/// float32 result whatever they get. No machine without a GPU can ask PyTorch itself.
const std::set<std::string> kFloat32OnGpu = {
    "cross_entropy", "nll_loss",    "mse_loss",   "binary_cross_entropy_with_logits",
    "softmax",       "log_softmax", "exp",        "log",
    "log1p",         "pow",         "pow scalar", "square",
    "sum",           "sum axes",    "norm",       "reciprocal",
    "rsqrt"};

DType dtype_named(const std::string& name) {
  return name == "f32" ? kFloat32 : name == "f64" ? kFloat64 : kBFloat16;
}

std::vector<std::string> ops_of(const OpTrace& trace) {
  std::vector<std::string> names;
  for (const TracedOp& op : trace.ops()) names.emplace_back(op.name);
  return names;
}

int64_t casts_in(const OpTrace& trace) {
  const auto names = ops_of(trace);
  return std::count(names.begin(), names.end(), "cast");
}

}  // namespace

TEST_CASE("results and gradients have the dtypes that PyTorch's autocast gives them", "[oracle]") {
  const auto folder = oracle_dir("autocast");
  if (!folder) return;
  const Device device = GENERATE(from_range(test_devices()));
  std::ifstream file(*folder + "/dtypes.json");
  int compared = 0;
  for (const auto& line : nlohmann::json::parse(file)) {
    const std::string op = line["op"];
    CAPTURE(device, op, line["inputs"].dump());
    Tensors inputs;
    for (size_t i = 0; i < line["inputs"].size(); ++i) {
      const Shape shape(line["shapes"][i].get<std::vector<int64_t>>());
      inputs.push_back((rand(shape) + 0.1).to(dtype_named(line["inputs"][i])).to(device));
      inputs.back().set_requires_grad();
    }
    Tensor y;
    {
      const AutocastGuard amp(device.type, kBFloat16);
      y = ops_by_name().at(op)(inputs);
    }
    const bool wide = device.is_cuda() && kFloat32OnGpu.contains(op);
    CHECK(name(y.dtype()) == (wide ? "f32" : line["result"]));
    y.sum().backward();
    for (size_t i = 0; i < inputs.size(); ++i) CHECK(name(inputs[i].grad().dtype()) == line["gradients"][i]);
    ++compared;
  }
  CHECK(compared > 120);
}

TEST_CASE("every rule of autocast is one that an op asks for") {
  // One call of each op with f16 and f32 inputs: the ops that are cast must be those of the table.
  const Device device = kCUDA;
  for (const AutocastRule& rule : autocast_rules()) {
    CAPTURE(rule.op);
    CHECK(cast_policy(rule.op, kCUDA) == rule.cuda);
    CHECK(cast_policy(rule.op, kCPU) == rule.cpu);
    if (rule.op == "conv2d_fused") continue;  // a case of its own
    const auto op = ops_by_name().find(std::string(rule.op) == "batch_norm" ? "batch_norm + residual"
                                                                            : std::string(rule.op));
    REQUIRE(op != ops_by_name().end());
    const std::map<std::string, std::vector<Shape>> shapes = {{"conv2d", {{2, 3, 5, 5}, {4, 3, 3, 3}, {4}}},
                                                              {"matmul", {{3, 4}, {4, 5}}},
                                                              {"bmm", {{2, 3, 4}, {2, 4, 5}}},
                                                              {"linear", {{3, 4}, {5, 4}, {5}}},
                                                              {"batch_norm", {{2, 3, 4, 4}, {2, 3, 4, 4}}}};
    const auto found = shapes.find(std::string(rule.op));
    Tensors inputs;
    for (const Shape& shape : found != shapes.end() ? found->second : std::vector<Shape>{{2, 3}, {2, 3}})
      inputs.push_back((rand(shape) + 0.1).to(inputs.empty() ? kFloat16 : kFloat32).to(device));
    const AutocastGuard amp(device.type, kFloat16);
    OpTrace trace;
    const Tensor y = op->second(inputs);
    CHECK((casts_in(trace) > 0) == (rule.op != "sum"));  // which reads what it gets as f32
    CHECK(y.dtype() == (rule.cuda == CastPolicy::kLow ? kFloat16 : kFloat32));
  }
  CHECK(cast_policy("relu", kCUDA) == CastPolicy::kAsTheyCome);
}

TEST_CASE("a fused convolution takes its bias and residual along") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = randn({2, 8, 6, 6}).to(device), weight = randn({8, 8, 3, 3}).to(device);
  const Tensor bias = randn({8}).to(device), residual = randn({2, 8, 6, 6}).to(device);
  const AutocastGuard amp(device.type, kBFloat16);
  const Tensor y =
      conv2d_fused(x, weight, {.bias = bias, .residual = residual, .relu = true}, {.padding = 1});
  CHECK(y.dtype() == kBFloat16);
  const auto low = [](const Tensor& of) { return of.to(kBFloat16); };
  const NoAutocastGuard off(device.type);
  check_close(y,
              conv2d_fused(low(x), low(weight), {.bias = low(bias), .residual = low(residual), .relu = true},
                           {.padding = 1}),
              0);
}

TEST_CASE("a scope has a kind of device and a thread, nests, and can be switched off inside") {
  const Tensor a = randn({3, 3}), b = randn({3, 3});
  const auto dtype = [&] { return matmul(a, b).dtype(); };
  CHECK(dtype() == kFloat32);
  {
    const AutocastGuard gpu_only(kCUDA, kFloat16);
    CHECK(dtype() == kFloat32);
    CHECK(matmul(a.cuda(), b.cuda()).dtype() == kFloat16);
    const AutocastGuard amp(kCPU, kBFloat16);
    CHECK(dtype() == kBFloat16);
    CHECK(autocast_dtype(kCPU) == kBFloat16);
    CHECK(autocast_dtype(kCUDA) == kFloat16);
    {
      const AutocastGuard inner(kCPU, kFloat16);
      CHECK(dtype() == kFloat16);
      const NoAutocastGuard off(kCPU);
      CHECK(dtype() == kFloat32);
      CHECK(matmul(a.cuda(), b.cuda()).dtype() == kFloat16);
    }
    CHECK(dtype() == kBFloat16);
    DType elsewhere = kInt64;
    std::thread([&] { elsewhere = dtype(); }).join();
    CHECK(elsewhere == kFloat32);
    CHECK_THROWS(matmul(a, randn({4, 4})));
    CHECK(dtype() == kBFloat16);
  }
  CHECK(dtype() == kFloat32);
  CHECK(!autocast_dtype(kCPU));
}

TEST_CASE("autocast leaves f64, integers and other devices alone, and refuses other dtypes") {
  const AutocastGuard amp(kCPU, kBFloat16);
  const Tensor x = randn({3, 3}, {.dtype = kFloat64});
  CHECK(matmul(x, x).dtype() == kFloat64);
  CHECK(mse_loss(x, x).dtype() == kFloat64);
  CHECK(sum(arange(4)).dtype() == kInt64);
  CHECK_THROWS_WITH(matmul(x, x.to(kFloat32)), Contains("operands must have one dtype, got f64 and bf16"));
  CHECK_THROWS_WITH(AutocastGuard(kCPU, kFloat64), Contains("must be f16 or bf16, got f64"));
  CHECK_THROWS_WITH(AutocastGuard(kCPU, kInt32), Contains("must be f16 or bf16, got i32"));
}

TEST_CASE("casts are on the tape, and gradients arrive in the dtypes of what they belong to") {
  const Device device = GENERATE(from_range(test_devices()));
  Tensor x = randn({4, 6}).to(device), weight = randn({5, 6}).to(device), bias = randn({5}).to(device);
  for (Tensor* leaf : {&x, &weight, &bias}) leaf->set_requires_grad();
  Tensor y;
  {
    const AutocastGuard amp(device.type, kBFloat16);
    y = linear(relu(x), weight, bias);
  }
  const std::string drawing = to_dot(y);
  CHECK_THAT(drawing, Contains("cast"));
  y.sum().backward();
  const auto low = [](const Tensor& of) { return of.detach().to(kBFloat16); };
  const Tensor ones_low = ones({4, 5}, {.dtype = kBFloat16, .device = device});
  // A half gradient would be exact here but for the rounding at its end.
  check_close(weight.grad(), matmul(ones_low.transpose(0, 1).to(kFloat32), low(relu(x)).to(kFloat32)), 1e-2);
  CHECK(weight.grad().dtype() == kFloat32);
  CHECK(bias.grad().dtype() == kFloat32);
  CHECK(x.grad().dtype() == kFloat32);
}

TEST_CASE("backward runs in the dtypes of forward, wherever it is called") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = randn({2, 4, 6, 6}).to(device), w = randn({4, 4, 3, 3}).to(device);
  const auto gradients = [&](bool inside) {
    const Tensor weight = w.clone().set_requires_grad(), input = x.clone().set_requires_grad();
    std::optional<AutocastGuard> amp(std::in_place, device.type, kBFloat16);
    const Tensor y = conv2d(relu(input), weight, {}, {.padding = 1}).exp();
    if (!inside) amp.reset();
    OpTrace trace;
    const auto first = grad({y}, {input, weight}, {ones_like(y)}, {.create_graph = true});
    for (const TracedOp& op : trace.ops())
      if (op.name == "conv2d_backward_input") CHECK(op.outputs[0].dtype == kBFloat16);
    const auto second = grad({square(first[0]).sum() + square(first[1]).sum()}, {input, weight});
    return Tensors{first[0], first[1], second[0], second[1]};
  };
  const Tensors outside = gradients(false), inside = gradients(true);
  for (size_t i = 0; i < outside.size(); ++i) {
    CHECK(outside[i].dtype() == kFloat32);
    // The squares above are f32 in one case and as they come in the other; the gradients are not.
    if (i < 2) check_close(inside[i], outside[i], 0);
  }
  // Against f32: bf16 has 8 bits.
  const Tensor weight = w.clone().set_requires_grad(), input = x.clone().set_requires_grad();
  const Tensor y = conv2d(relu(input), weight, {}, {.padding = 1});
  Tensor low;
  {
    const AutocastGuard amp(device.type, kBFloat16);
    low = conv2d(relu(input), weight, {}, {.padding = 1});
  }
  const auto exact = grad({y}, {input, weight}, {ones_like(y)});
  const auto rounded = grad({low}, {input, weight}, {ones_like(low)});
  for (size_t i = 0; i < 2; ++i) check_close(rounded[i], exact[i], 0.05, 10);
}

TEST_CASE("a parameter is cast once, until it is written") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = randn({4, 6}).to(device);
  Tensor weight = randn({5, 6}).to(device).set_requires_grad();
  const AutocastGuard amp(device.type, kBFloat16);
  linear(x, weight);
  const Tensor copy = detail::current_weight_copy(weight);
  REQUIRE(copy.defined());
  CHECK(copy.dtype() == kBFloat16);
  linear(x, weight);
  CHECK(detail::current_weight_copy(weight).is_same(copy));
  // In another dtype, and back.
  {
    const AutocastGuard half(device.type, kFloat16);
    CHECK(linear(x, weight).dtype() == kFloat16);
  }
  check_close(linear(x, weight), linear(x.to(kBFloat16), weight.detach().to(kBFloat16)), 0);
  // Any write is noticed: in place, by a view, by a copy.
  const auto write = GENERATE(0, 1, 2);
  {
    const NoGradGuard no_grad;
    if (write == 0) weight.mul_(2);
    if (write == 1) weight[0].fill_(3);
    if (write == 2) weight.copy_(randn({5, 6}));
  }
  CHECK(!detail::current_weight_copy(weight).defined());
  check_close(linear(x, weight), linear(x.to(kBFloat16), weight.detach().to(kBFloat16)), 0);
  // A frozen parameter keeps a copy, too; an input has none.
  weight.set_requires_grad(false);
  linear(x, weight);
  CHECK(detail::current_weight_copy(weight).defined());
  CHECK(!detail::current_weight_copy(x).defined());
}

TEST_CASE("a model in one half type runs under autocast in the other") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = randn({2, 4, 5, 5}).to(device);
  Tensor weight = randn({3, 4, 3, 3}).to(kBFloat16).to(device).set_requires_grad();
  {
    const AutocastGuard amp(device.type, kFloat16);
    const Tensor y = conv2d(x, weight);
    CHECK(y.dtype() == kFloat16);
    y.sum().backward();
  }
  CHECK(weight.grad().dtype() == kBFloat16);
  CHECK(!detail::current_weight_copy(weight).defined());
}

TEST_CASE("a number on the CPU does not take an op on a GPU out of autocast") {
  const Tensor base = full({}, 2.0), exponent = rand({4}).to(kFloat16).cuda();
  const AutocastGuard amp(kCUDA, kFloat16);
  CHECK(pow(base, exponent).dtype() == kFloat32);
}

TEST_CASE("a copy made in inference mode serves training, and two uses in one graph add up") {
  const Tensor x = randn({4, 6});
  Tensor weight = randn({6, 6}).set_requires_grad();
  const AutocastGuard amp(kCPU, kBFloat16);
  {
    const InferenceModeGuard inference;
    linear(x, weight);
  }
  linear(linear(x, weight), weight).sum().backward();
  const Tensor grad_both = weight.grad();
  // The same with two leaves.
  Tensor first = weight.detach().clone().set_requires_grad(),
         second = weight.detach().clone().set_requires_grad();
  linear(linear(x, first), second).sum().backward();
  check_close(grad_both, first.grad() + second.grad(), 1e-6);
}

TEST_CASE("a copy made on one stream is waited for on another") {
  const gpu::Stream other = gpu::stream_from_pool();
  const Tensor x = randn({64, 64}).cuda();
  const AutocastGuard amp(kCUDA, kBFloat16);
  // The simulated GPU runs streams in a random order: of so many tries, one would read too early.
  for (int i = 0; i < 40; ++i) {
    const Tensor weight = randn({64, 64}).cuda().set_requires_grad();
    gpu::synchronize();
    const Tensor expected = linear(x, weight.detach()).cpu();
    linear(x, weight);  // makes the copy on this stream; nothing has run yet
    Tensor y;
    {
      const gpu::StreamGuard on_other(other);
      y = linear(x.to(kBFloat16), weight).cpu();
    }
    check_close(y, expected, 0);
  }
}

TEST_CASE("threads may share a parameter under autocast") {
  const Tensor x = randn({4, 6});
  const Tensor weight = randn({5, 6}).set_requires_grad();
  const Tensor expected = linear(x.to(kBFloat16), weight.detach().to(kBFloat16));
  std::vector<std::thread> threads;
  Tensors results(4);
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      const AutocastGuard amp(kCPU, kBFloat16);
      const NoGradGuard no_grad;
      results[i] = linear(x, weight);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Tensor& result : results) check_close(result, expected, 0);
}

TEST_CASE("a checkpointed segment runs again under the autocast of its forward pass") {
  const Tensor x = randn({4, 6}).set_requires_grad(), weight = randn({6, 6}).set_requires_grad();
  const auto segment = [&](const Tensor& input) { return linear(relu(linear(input, weight)), weight); };
  const auto gradient = [&](bool checkpointed) {
    weight.set_grad({});
    Tensor y;
    {
      const AutocastGuard amp(kCPU, kBFloat16);
      y = checkpointed ? checkpoint(segment, x) : segment(x);
    }
    CHECK(y.dtype() == kBFloat16);
    y.sum().backward();
    return weight.grad();
  };
  const Tensor plain = gradient(false);
  check_close(gradient(true), plain, 0);
}
