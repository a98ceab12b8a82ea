// Models in the form in which they are served: the results of the ordinary form but for rounding, and never
// stale.

#include "taper/nn/serve/inference_form.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <thread>

#include "taper/autograd/derivatives/conv.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/core/generator.h"
#include "taper/nn/io/safetensors.h"
#include "taper/nn/layers/constant_conv.h"
#include "taper/nn/models/resnet.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

namespace taper {
namespace {

/// Norms that change what passes through them, as after training.
void scramble(Module& model, uint64_t seed) {
  for (const auto& [name, module] : model.named_modules()) {
    auto* const norm = dynamic_cast<BatchNorm2d*>(module);
    if (!norm) continue;
    const Shape shape = norm->weight.shape();
    const auto draw = [&](double centre, double spread) {
      return ops::add(ops::mul(random_tensor(shape, kFloat32, ++seed), spread), centre);
    };
    ops::copy_(norm->weight, draw(0.6, 0.2));
    ops::copy_(norm->bias, draw(0, 0.3));
    ops::copy_(norm->running_mean, draw(0, 0.3));
    ops::copy_(norm->running_var, draw(2, 0.5));
  }
}

/// The largest difference, as a share of the largest value.
double relative_difference(const Tensor& actual, const Tensor& expected) {
  const auto a = ops::to_vector<double>(actual), b = ops::to_vector<double>(expected);
  REQUIRE(a.size() == b.size());
  double largest = 0, scale = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(a[i] - b[i]));
    scale = std::max(scale, std::abs(b[i]));
  }
  REQUIRE(scale > 0);
  return largest / scale;
}

/// A convolution with a bias and in groups, a norm, and what may stand around them.
std::unique_ptr<Sequential> small_net() {
  auto net = std::make_unique<Sequential>();
  net->add<Conv2d>(3, 16, 3, Conv2dOptions{.stride = 2, .padding = 1})
      .add<BatchNorm2d>(16)
      .add<Conv2d>(16, 32, 3, Conv2dOptions{.padding = 1, .groups = 4})
      .add<Conv2d>(32, 32, 3, Conv2dOptions{.padding = 1, .groups = 32}, kNoBias)
      .add<BatchNorm2d>(32);
  return net;
}

TEST_CASE("inference form: ResNets give the same logits but for rounding, after loading a checkpoint too") {
  manual_seed(1);
  const TemporaryFolder folder;
  for (const char* architecture : {"resnet18", "resnet50"}) {
    INFO(architecture);
    ResNet model = make_resnet(architecture, {.num_classes = 10}),
           other = make_resnet(architecture, {.num_classes = 10});
    scramble(model, 1);
    scramble(other, 1000);
    model.eval();
    const NoGradGuard no_grad;
    const Tensor pictures = random_tensor({2, 3, 33, 32}, kFloat32, 5);
    const Tensor expected = model(pictures),
                 others = other.is_training() ? (other.eval(), other(pictures)) : Tensor();
    CHECK(relative_difference(others, expected) > 0.01);

    const InferenceForm form(model);
    CHECK(relative_difference(model(pictures), expected) < 1e-5);
    CHECK(relative_difference(model(pictures), expected) < 1e-5);
    save_safetensors(folder / "weights", other.state_dict());
    model.load_state_dict(load_safetensors(folder / "weights").tensors);
    CHECK(relative_difference(model(pictures), others) < 1e-5);
  }
}

TEST_CASE("inference form: follows writes, replaced parameters and running statistics") {
  const Device device = GENERATE(from_range(test_devices()));
  manual_seed(2);
  const auto net = small_net();
  scramble(*net, 3);
  net->to(device);
  const Tensor x = random_tensor({2, 3, 9, 8}, kFloat32, 5).to(device);
  net->eval();
  const InferenceForm form(*net);
  const auto check_current = [&] {
    const Tensor expected = (*net)(x);  // recorded, so in the ordinary form
    const NoGradGuard no_grad;
    CHECK(relative_difference((*net)(x), expected) < 1e-5);
  };
  check_current();
  for (const auto& named : {net->named_parameters(), net->named_buffers()}) {
    for (const auto& [name, tensor] : named) {
      if (!is_floating_point(tensor.dtype())) continue;
      INFO(name);
      const NoGradGuard no_grad;
      ops::copy_(tensor, ops::mul(tensor, 1.5));
      const EnableGradGuard grad;
      check_current();
    }
  }
  net->to(kFloat64);
  const Tensor wide = x.to(kFloat64), expected = (*net)(wide);
  const NoGradGuard no_grad;
  CHECK(relative_difference((*net)(wide), expected) < 1e-13);
}

TEST_CASE("inference form: one op for a convolution and its norm, and only where nothing is recorded") {
  manual_seed(4);
  const auto net = small_net();
  scramble(*net, 3);
  net->eval();
  auto& conv = dynamic_cast<Conv2d&>((*net)[0]);
  const Tensor x = random_tensor({1, 3, 8, 8}, kFloat32, 5);
  {
    const InferenceForm form(*net), second(*net);
    CHECK(conv.constant_form() == nullptr);  // something would be recorded
    (*net)(x).sum().backward();
    CHECK(conv.weight.grad().defined());
    const NoGradGuard no_grad;
    CHECK(conv.constant_form() != nullptr);

    // Hooks see each module's own result, so that the two are not folded while there is one.
    const Tensor folded = (*net)(x);
    int seen = 0;
    HookHandle hook = conv.register_forward_hook([&](Module&, const Tensor&, const Tensor& output) {
      ++seen;
      CHECK(relative_difference(output, conv2d(x, conv.weight, conv.bias, conv.options)) < 1e-5);
      return Tensor();
    });
    CHECK(relative_difference((*net)(x), folded) < 1e-5);
    CHECK(seen == 1);
    hook.remove();
    CHECK_FALSE(conv.has_hooks());
    CHECK(ops::to_vector<float>((*net)(x)) == ops::to_vector<float>(folded));
    CHECK(seen == 1);

    // In training mode norms take the batch's statistics.
    net->train();
    auto& norm = dynamic_cast<BatchNorm2d&>((*net)[1]);
    const auto before = ops::to_vector<float>(norm.running_mean);
    (*net)(x);
    CHECK(ops::to_vector<float>(norm.running_mean) != before);
  }
  const NoGradGuard no_grad;
  CHECK(conv.constant_form() == nullptr);
}

TEST_CASE("inference form: several threads may ask the same model") {
  manual_seed(5);
  const auto net = small_net();
  scramble(*net, 3);
  net->eval();
  const Tensor x = random_tensor({1, 3, 8, 8}, kFloat32, 5);
  const InferenceForm form(*net);
  std::vector<std::vector<float>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] {
      const NoGradGuard no_grad;
      result = ops::to_vector<float>((*net)(x));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) CHECK(result == results[0]);
}

}  // namespace
}  // namespace taper
