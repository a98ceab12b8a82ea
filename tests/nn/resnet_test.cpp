// ResNet against torchvision: names, initial values, logits, gradients; and the GPU against the CPU.

#include "taper/nn/models/resnet.h"
#include "taper/nn/models/resnet_weights.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "oracle.h"
#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/derivatives/loss.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/core/generator.h"
#include "taper/nn/io/safetensors.h"
#include "taper/nn/report/summary.h"
#include "tests/support/test_tensors.h"

namespace taper {
namespace {

/// thin() of tests/oracle/resnet_oracle.py.
std::vector<double> thin(const Tensor& x) {
  const std::vector<double> all = ops::to_vector<double>(x);
  const size_t step = std::max<size_t>(1, all.size() / 4096);
  std::vector<double> some;
  for (size_t i = 0; i < all.size(); i += step) some.push_back(all[i]);
  return some;
}

double norm(const std::vector<double>& values) {
  double squares = 0;
  for (const double v : values) squares += v * v;
  return std::sqrt(squares);
}

/// Returns the distance between two vectors relative to the second's length; rounding errors scale with it.
double relative_error(const std::vector<double>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == expected.size());
  std::vector<double> difference(actual.size());
  std::transform(actual.begin(), actual.end(), expected.begin(), difference.begin(), std::minus());
  return norm(difference) / std::max(norm(expected), 1e-30);
}

double largest_difference(const Tensor& actual, const Tensor& expected) {
  REQUIRE(actual.shape() == expected.shape());
  const std::vector<double> a = ops::to_vector<double>(actual);
  const std::vector<double> b = ops::to_vector<double>(expected);
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

TEST_CASE("resnet: names, shapes and counts are torchvision's", "[oracle]") {
  struct Case {
    std::string architecture;
    int64_t parameters;
  };
  const auto folder = oracle_dir("resnet");
  nlohmann::json names;
  if (folder) names = nlohmann::json::parse(std::ifstream(*folder + "/names.json"));
  for (const Case& expected :
       {Case{"resnet18", 11'689'512}, Case{"resnet34", 21'797'672}, Case{"resnet50", 25'557'032},
        Case{"resnet101", 44'549'160}, Case{"resnet152", 60'192'808}}) {
    INFO(expected.architecture);
    ResNet model = make_resnet(expected.architecture);
    CHECK(model.parameter_count() == expected.parameters);
    if (!folder) continue;
    NamedTensors tensors = model.named_parameters();
    for (const auto& buffer : model.named_buffers()) tensors.push_back(buffer);
    const nlohmann::json& theirs = names.at(expected.architecture);
    REQUIRE(tensors.size() == theirs.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      const auto& [name, tensor] = tensors[i];
      CHECK(name == theirs[i][0].get<std::string>());
      CHECK(tensor.shape() == Shape(theirs[i][1].get<std::vector<int64_t>>()));
    }
  }
  CHECK_THROWS_WITH(make_resnet("resnet49"), Catch::Contains("use resnet18, resnet34"));
}

TEST_CASE("resnet: weights tell which ResNet they belong to") {
  for (const char* arch : {"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"}) {
    INFO(arch);
    TensorMap weights = make_resnet(arch, {.num_classes = 7}).state_dict();
    CHECK(resnet_of_weights(weights) == ResNetKind{arch, 7});
    TensorMap wider = weights;
    wider["layer1.0.conv2.weight"] = ops::zeros({128, 128, 3, 3});  // as in Wide ResNet
    CHECK(resnet_of_weights(wider) == std::nullopt);
    wider["layer1.0.conv2.weight"] = ops::zeros({128, 4, 3, 3});  // as in ResNeXt
    CHECK(resnet_of_weights(wider) == std::nullopt);
    for (const char* name : {"conv1.weight", "layer1.0.conv1.weight", "layer4.1.conv1.weight", "fc.weight"}) {
      TensorMap fewer = weights;
      fewer.erase(name);
      CHECK(resnet_of_weights(fewer) == std::nullopt);
    }
    int blocks = 0;
    while (weights.contains(fmt::format("layer3.{}.conv1.weight", blocks))) ++blocks;
    weights[fmt::format("layer3.{}.conv1.weight", blocks)] = ops::zeros({1});  // one more
    CHECK(resnet_of_weights(weights) == std::nullopt);
  }
  CHECK(resnet_of_weights({}) == std::nullopt);
}

TEST_CASE("resnet: initial values are torchvision's kind") {
  manual_seed(1);
  ResNet plain = resnet18({.num_classes = 10});
  const auto deviation = [](const Tensor& x) {
    const std::vector<double> values = ops::to_vector<double>(x);
    return norm(values) / std::sqrt(double(values.size()));
  };
  CHECK(deviation(plain.conv1.weight) == Approx(std::sqrt(2.0 / (64 * 49))).epsilon(0.05));
  auto& block = dynamic_cast<BasicBlock&>(plain.layer4[1]);
  CHECK(deviation(block.conv2.weight) == Approx(std::sqrt(2.0 / (512 * 9))).epsilon(0.01));
  CHECK(block.conv2.weight.is_contiguous(kChannelsLast));
  CHECK(deviation(block.bn2.weight) == 1);
  CHECK(deviation(block.bn2.bias) == 0);
  CHECK(plain.fc.weight.shape() == Shape{10, 512});

  ResNet zeroed = resnet18({.num_classes = 10, .zero_init_residual = true});
  ResNet deep = resnet50({.num_classes = 10, .zero_init_residual = true});
  CHECK(deviation(dynamic_cast<BasicBlock&>(zeroed.layer4[1]).bn2.weight) == 0);
  CHECK(deviation(dynamic_cast<BasicBlock&>(zeroed.layer4[1]).bn1.weight) == 1);
  CHECK(deviation(dynamic_cast<Bottleneck&>(deep.layer1[0]).bn3.weight) == 0);
  CHECK(deviation(dynamic_cast<Bottleneck&>(deep.layer1[0]).bn2.weight) == 1);
}

struct Parity {
  std::string architecture;
  std::string norms;  ///< "zero": zero_init_residual; "random": batch norms with all paths alive
  DType dtype;
  double logits_tolerance;    ///< absolute
  double gradient_tolerance;  ///< relative, by norm
};

TEST_CASE("resnet: logits, loss, gradients and running statistics are torchvision's", "[oracle]") {
  const auto folder = oracle_dir("resnet");
  if (!folder) return;
  // In f32 rounding errors grow with depth unless the blocks start as the identity. So ResNet-50 with random
  // norms is compared in f64 alone.
  const Parity parity = GENERATE(Parity{"resnet18", "random", kFloat64, 1e-10, 1e-10},
                                 Parity{"resnet50", "random", kFloat64, 1e-10, 1e-10},
                                 Parity{"resnet18", "random", kFloat32, 1e-4, 1e-3},
                                 Parity{"resnet18", "zero", kFloat32, 1e-4, 1e-4},
                                 Parity{"resnet50", "zero", kFloat32, 1e-4, 1e-4});
  INFO(parity.architecture << " " << parity.norms << " " << name(parity.dtype));
  TensorMap state = load_safetensors(*folder + "/" + parity.architecture + "_weights.safetensors").tensors;
  TensorMap theirs =
      load_safetensors(*folder + "/" + parity.architecture + "_" + parity.norms + ".safetensors").tensors;
  for (const auto& [key, tensor] : theirs) {
    if (key.rfind("norm/", 0) == 0) state[key.substr(5)] = tensor;
  }
  ResNet model = make_resnet(parity.architecture, {.num_classes = 10});
  model.to(parity.dtype);
  model.load_state_dict(state);

  const Tensor x = theirs["x"].to(parity.dtype);
  model.eval();
  {
    const NoGradGuard no_grad;
    CHECK(largest_difference(model(x), theirs["eval_logits"]) < parity.logits_tolerance);
  }
  model.train();
  const Tensor logits = model(x);
  CHECK(largest_difference(logits, theirs["logits"]) < parity.logits_tolerance);
  const Tensor loss = cross_entropy(logits, theirs["target"]);
  CHECK(loss.item() == Approx(theirs["loss"].item()).epsilon(parity.dtype == kFloat64 ? 1e-12 : 1e-5));
  loss.backward();
  for (const auto& [key, parameter] : model.named_parameters()) {
    INFO(key);
    REQUIRE(parameter.grad().defined());
    const std::vector<double> expected = ops::to_vector<double>(theirs["grad/" + key]);
    const double length = theirs["norm_of_grad/" + key].item();
    CHECK(relative_error(thin(parameter.grad()), expected) < parity.gradient_tolerance);
    CHECK(norm(ops::to_vector<double>(parameter.grad())) ==
          Approx(length).epsilon(parity.gradient_tolerance));
  }
  for (const auto& [key, buffer] : model.named_buffers()) {
    INFO(key);
    CHECK(relative_error(ops::to_vector<double>(buffer), ops::to_vector<double>(theirs["after/" + key])) <
          parity.gradient_tolerance);
  }
}

TEST_CASE("resnet: a GPU computes what the CPU does, forward and backward") {
  const ResNet::Block block = GENERATE(ResNet::Block::kBasic, ResNet::Block::kBottleneck);
  const Tensor x = random_tensor({4, 3, 32, 32}, kFloat32), grad = random_tensor({4, 10}, kFloat32, 2);
  const auto train_once = [&](Device device) {
    manual_seed(1);
    auto model =
        std::make_unique<ResNet>(block, std::array<int64_t, 4>{1, 1, 1, 1}, ResNetOptions{.num_classes = 10});
    model->to(device);
    const Tensor logits = (*model)(ops::to_device(x, device));
    CHECK(logits.device() == device);
    logits.backward(ops::to_device(grad, device));
    return std::pair(std::move(model), ops::to_device(logits.detach(), Device()));
  };
  const auto [on_cpu, expected] = train_once(Device());
  const auto [on_gpu, logits] = train_once(Device("cuda"));
  CHECK(largest_difference(logits, expected) < 1e-4);
  const NamedTensors parameters = on_cpu->named_parameters(), parameters_gpu = on_gpu->named_parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    INFO(parameters[i].first);
    CHECK(relative_error(ops::to_vector<double>(parameters_gpu[i].second.grad()),
                         ops::to_vector<double>(parameters[i].second.grad())) < 1e-3);
  }
  const NamedTensors buffers = on_cpu->named_buffers(), buffers_gpu = on_gpu->named_buffers();
  for (size_t i = 0; i < buffers.size(); ++i) {
    INFO(buffers[i].first);
    CHECK(relative_error(ops::to_vector<double>(buffers_gpu[i].second),
                         ops::to_vector<double>(buffers[i].second)) < 1e-4);
  }
}

TEST_CASE("resnet: any picture size of at least one pixel, and the arithmetic that is known for 224") {
  ResNet model = resnet18({.num_classes = 7});
  model.eval();
  const NoGradGuard no_grad;
  for (const int64_t size : {1, 17, 33}) {
    CHECK(model(ops::zeros({1, 3, size, size + 2})).shape() == Shape{1, 7});
  }
  // 1.81e9 multiply-adds for ResNet-18 at 224, counted as two each; norms and sums of pools add to that.
  ResNet full = resnet18();
  const ModuleSummary table = summary(full, {1, 3, 224, 224});
  CHECK(double(table.flops) == Approx(2 * 1.814e9).epsilon(0.01));
  CHECK(table.parameters == 11'689'512);
}

}  // namespace
}  // namespace taper
