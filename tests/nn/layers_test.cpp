// Layers: parameters, initial values, training and evaluation. The ops' tests (conv_test, norm_test, ...)
// cover the arithmetic.

#include <catch2/catch.hpp>
#include <cmath>

#include "oracle_cases.h"
#include "taper/autograd/derivatives/elementwise.h"
#include "taper/nn/init.h"
#include "taper/nn/layers/adaptive_avg_pool2d.h"
#include "taper/nn/layers/avg_pool2d.h"
#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/conv2d.h"
#include "taper/nn/layers/dropout.h"
#include "taper/nn/layers/flatten.h"
#include "taper/nn/layers/identity.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/layers/max_pool2d.h"
#include "taper/nn/layers/relu.h"
#include "taper/nn/layers/sequential.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/random/random.h"
#include "test_tensors.h"
#include "tolerance.h"

namespace taper {
namespace {

/// The layer that a case of tests/oracle/layers_oracle.py describes.
std::shared_ptr<Layer> make_layer(const OracleCase& c) {
  const auto number = [&](const char* option) { return int64_t(c.number(option)); };
  const auto bias = [&] { return c.flag("bias") ? kBias : kNoBias; };
  if (c.op == "Linear") return std::make_shared<Linear>(number("in"), number("out"), bias());
  if (c.op == "Conv2d") {
    const Conv2dOptions options{.stride = number("stride"),
                                .padding = number("padding"),
                                .dilation = number("dilation"),
                                .groups = number("groups")};
    return std::make_shared<Conv2d>(4, 8, number("size"), options, bias());
  }
  if (c.op == "BatchNorm2d") return std::make_shared<BatchNorm2d>(4, c.number("eps"), c.number("momentum"));
  if (c.op == "MaxPool2d") {
    return std::make_shared<MaxPool2d>(
        MaxPool2dOptions{.kernel = number("size"), .stride = number("stride"), .padding = number("padding")});
  }
  if (c.op == "AvgPool2d") {
    return std::make_shared<AvgPool2d>(
        AvgPool2dOptions{.kernel = number("size"), .stride = number("stride"), .padding = number("padding")});
  }
  if (c.op == "AdaptiveAvgPool2d") {
    return std::make_shared<AdaptiveAvgPool2d>(IntPair(number("height"), number("width")));
  }
  if (c.op == "ReLU") return std::make_shared<ReLU>();
  if (c.op == "Identity") return std::make_shared<Identity>();
  if (c.op == "Flatten") return std::make_shared<Flatten>(number("first"), number("last"));
  REQUIRE(c.op == "Sequential");
  auto chain = std::make_shared<Sequential>();
  chain->add<Conv2d>(4, 2, 3).add<ReLU>().add<Flatten>().add<Linear>(70, 3);
  return chain;
}

/// Returns the standard deviation around 0.
double deviation(const Tensor& x) {
  double squares = 0;
  for (const double v : ops::to_vector<double>(x)) squares += v * v;
  return std::sqrt(squares / double(x.numel()));
}

double largest(const Tensor& x) {
  double most = 0;
  for (const double v : ops::to_vector<double>(x)) most = std::max(most, std::abs(v));
  return most;
}

TEST_CASE("layers: outputs, gradients and state are PyTorch's", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const OracleCase& c : oracle_cases("layers")) {
    INFO(c.name << " on " << device.str());
    const std::shared_ptr<Layer> layer = make_layer(c);
    CHECK(layer->type_name() == c.op);
    layer->to(kFloat64);
    layer->to(device);
    layer->train(c.flag("training"));
    TensorMap state;
    for (const auto& [name, tensor] : layer->state_dict()) state[name] = c["state/" + name];
    layer->load_state_dict(state);

    Tensor x = ops::to_device(c["x"].detach(), device);
    x.set_requires_grad();
    const Tensor y = (*layer)(x);
    const double allowed = tolerance(kFloat64, 1000);
    check_close(y, c["y"], allowed);
    y.backward(ops::to_device(oracle_gradient(y), device));
    check_close(x.grad(), c["grad_x"], allowed);
    for (const auto& [name, parameter] : layer->named_parameters()) {
      INFO(name);
      check_close(parameter.grad(), c["grad/" + name], allowed);
    }
    for (const auto& [name, tensor] : layer->state_dict()) {
      INFO(name);
      check_close(tensor, c["after/" + name], allowed);
    }
  }
}

TEST_CASE("layers: BatchNorm2d fused with a residual and ReLU equals the three steps") {
  manual_seed(2);
  const Tensor x = ops::randn({4, 3, 5, 5}, {.dtype = kFloat64});
  const Tensor residual = ops::randn({4, 3, 5, 5}, {.dtype = kFloat64});
  for (const bool training : {true, false}) {
    BatchNorm2d fused(3), plain(3);
    for (BatchNorm2d* norm : {&fused, &plain}) {
      norm->to(kFloat64);
      norm->train(training);
      ops::fill_(norm->weight, 0.7);
      ops::fill_(norm->bias, -0.2);
    }
    Tensor x1 = x.clone(), x2 = x.clone(), r1 = residual.clone(), r2 = residual.clone();
    for (Tensor* t : {&x1, &x2, &r1, &r2}) t->set_requires_grad();
    const Tensor y1 = fused(x1, {.residual = r1, .relu = true});
    const Tensor y2 = relu(add(plain(x2), r2));
    check_close(y1, y2, tolerance(kFloat64, 100));
    y1.backward(oracle_gradient(y1));
    y2.backward(oracle_gradient(y2));
    check_close(x1.grad(), x2.grad(), tolerance(kFloat64, 100));
    check_close(r1.grad(), r2.grad(), tolerance(kFloat64, 100));
    check_close(fused.weight.grad(), plain.weight.grad(), tolerance(kFloat64, 100));
    check_close(fused.bias.grad(), plain.bias.grad(), tolerance(kFloat64, 100));
    check_close(fused.running_var, plain.running_var);
    CHECK(fused.num_batches_tracked.item<int64_t>() == (training ? 1 : 0));
  }
}

TEST_CASE("layers: hooks of BatchNorm2d see the fused call") {
  BatchNorm2d norm(2);
  norm.eval();
  int calls = 0;
  norm.register_forward_hook([&](Module&, const Tensor&, const Tensor& output) {
    ++calls;
    for (const float v : ops::to_vector<float>(output)) CHECK(v >= 0);
    return Tensor();
  });
  norm(ops::full({1, 2, 3, 3}, -1), {.relu = true});
  CHECK(calls == 1);
}

TEST_CASE("layers: Dropout zeroes its share in training and does nothing in evaluation") {
  Generator generator(3);
  Dropout dropout(0.25, generator);
  const Tensor x = ops::ones({100, 100});
  const std::vector<float> y = ops::to_vector<float>(dropout(x));
  const int64_t zeros = std::count(y.begin(), y.end(), 0.0f);
  const int64_t scaled = std::count(y.begin(), y.end(), 1 / 0.75f);
  CHECK(zeros + scaled == 10000);
  CHECK(std::abs(double(zeros) - 2500) < 5 * std::sqrt(10000 * 0.25 * 0.75));  // five deviations
  CHECK(ops::to_vector<float>(dropout(x)) != y);
  dropout.eval();
  CHECK(dropout(x).is_same(x));
  CHECK_THROWS_WITH(Dropout(1.5), Catch::Contains("between 0 and 1, got 1.5"));
}

TEST_CASE("layers: starting values are within PyTorch's bounds") {
  manual_seed(4);
  const Linear linear(400, 300);
  CHECK(largest(linear.weight) <= 0.05);
  CHECK(deviation(linear.weight) == Approx(0.05 / std::sqrt(3.0)).epsilon(0.01));
  CHECK(largest(linear.bias) <= 0.05);
  CHECK(largest(linear.bias) > 0.045);
  const Conv2d conv(32, 64, 5, {.groups = 2});
  CHECK(conv.weight.shape() == Shape{64, 16, 5, 5});
  CHECK(conv.weight.is_contiguous(kChannelsLast));
  CHECK(largest(conv.weight) <= 0.05);  // 1 / sqrt(16 * 25)
  CHECK(deviation(conv.weight) == Approx(0.05 / std::sqrt(3.0)).epsilon(0.02));
  CHECK_FALSE(Linear(2, 2, kNoBias).bias.defined());
  const BatchNorm2d norm(8);
  CHECK(ops::to_vector<float>(norm.weight) == std::vector<float>(8, 1));
  CHECK(ops::to_vector<float>(norm.running_var) == std::vector<float>(8, 1));
}

TEST_CASE("layers: impossible sizes are refused by name") {
  CHECK_THROWS_WITH(Linear(0, 2), Catch::Contains("Linear: needs at least 1"));
  CHECK_THROWS_WITH(Conv2d(3, 8, 3, {.groups = 2}), Catch::Contains("2 groups do not divide 3"));
  CHECK_THROWS_WITH(Conv2d(3, 8, 0), Catch::Contains("at least 1"));
  CHECK_THROWS_WITH(BatchNorm2d(0), Catch::Contains("at least 1 channel"));
  BatchNorm2d norm(3);
  CHECK_THROWS_WITH(norm(ops::zeros({2, 3})), Catch::Contains("[N, C, H, W], got [2, 3]"));
  Sequential chain;
  CHECK_THROWS_WITH(chain[0], Catch::Contains("no module 0 among 0"));
  const Tensor x = ops::zeros({1});
  CHECK(chain(x).is_same(x));
}

TEST_CASE("init: each distribution has the deviation of its formula") {
  Generator generator(9);
  const Tensor weight = empty({256, 64, 3, 3}, {.memory_format = kChannelsLast});
  CHECK(init::fan_of(weight).in == 576);
  CHECK(init::fan_of(weight).out == 2304);
  CHECK(init::gain_of(init::Nonlinearity::kRelu) == Approx(1.41421356));
  CHECK(init::gain_of(init::Nonlinearity::kTanh) == Approx(1.66666667));
  CHECK(init::gain_of(init::Nonlinearity::kLeakyRelu, 0.2) == Approx(1.38675049));  // torch.nn.init
  CHECK(init::gain_of(init::Nonlinearity::kSelu) == 0.75);
  CHECK(init::gain_of(init::Nonlinearity::kSigmoid) == 1);

  const init::KaimingOptions fan_out{.mode = init::FanMode::kFanOut,
                                     .nonlinearity = init::Nonlinearity::kRelu};
  struct Case {
    std::string name;
    std::function<void()> fill;
    double expected_deviation;
    double bound;  ///< 0: none
  };
  const std::vector<Case> cases = {
      {"kaiming_normal_", [&] { init::kaiming_normal_(weight, {}, generator); }, std::sqrt(2.0 / 576), 0},
      {"kaiming_normal_ fan_out", [&] { init::kaiming_normal_(weight, fan_out, generator); },
       std::sqrt(2.0 / 2304), 0},
      {"kaiming_uniform_", [&] { init::kaiming_uniform_(weight, {}, generator); }, std::sqrt(2.0 / 576),
       std::sqrt(6.0 / 576)},
      {"xavier_normal_", [&] { init::xavier_normal_(weight, 2, generator); }, 2 * std::sqrt(2.0 / 2880), 0},
      {"xavier_uniform_", [&] { init::xavier_uniform_(weight, 1, generator); }, std::sqrt(2.0 / 2880),
       std::sqrt(6.0 / 2880)},
      {"normal_", [&] { init::normal_(weight, 0, 3, generator); }, 3, 0},
      {"uniform_", [&] { init::uniform_(weight, -2, 2, generator); }, 2 / std::sqrt(3.0), 2},
      {"constant_", [&] { init::constant_(weight, -1.5); }, 1.5, 1.5},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    c.fill();
    CHECK(deviation(weight) == Approx(c.expected_deviation).epsilon(0.01));
    if (c.bound > 0) CHECK(largest(weight) == Approx(c.bound).epsilon(0.001));
  }

  // Values follow the row-major order of elements: the memory format changes nothing.
  const Tensor plain = empty({8, 4, 3, 3});
  const Tensor last = empty({8, 4, 3, 3}, {.memory_format = kChannelsLast});
  generator.manual_seed(1);
  init::normal_(plain, 0, 1, generator);
  generator.manual_seed(1);
  init::normal_(last, 0, 1, generator);
  CHECK(ops::to_vector<float>(plain) == ops::to_vector<float>(last));
  CHECK_THROWS_WITH(init::fan_of(ops::zeros({3})), Catch::Contains("2 or more dimensions"));
}

}  // namespace
}  // namespace taper
