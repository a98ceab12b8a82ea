// Models in the form for serving: results differ from the usual ones by rounding only, and are never stale.

#include "taper/nn/serve/inference_form.h"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <optional>
#include <thread>

#include "taper/autograd/derivatives/conv.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/core/generator.h"
#include "taper/core/profiler.h"
#include "taper/nn/io/safetensors.h"
#include "taper/nn/layers/conv_batch_norm.h"
#include "taper/nn/models/resnet.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

namespace taper {
namespace {

/// Sets norms that change what passes through them, as after training.
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

/// Returns the largest difference, as a share of the largest expected value.
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

/// Convolutions followed by a norm, with and without a bias; and one in groups without a norm.
struct SmallNet : Layer {
  Conv2d& conv = register_module<Conv2d>("conv", 3, 16, 3, Conv2dOptions{.stride = 2, .padding = 1});
  BatchNorm2d& norm = register_module<BatchNorm2d>("norm", 16);
  Conv2d& grouped = register_module<Conv2d>("grouped", 16, 32, 3, Conv2dOptions{.padding = 1, .groups = 4});
  Conv2d& depthwise =
      register_module<Conv2d>("depthwise", 32, 32, 3, Conv2dOptions{.padding = 1, .groups = 32}, kNoBias);
  BatchNorm2d& norm2 = register_module<BatchNorm2d>("norm2", 32);

  explicit SmallNet(uint64_t seed) {
    manual_seed(seed);
    scramble(*this, seed);
    eval();
  }
  Tensor forward(const Tensor& x) override {
    const Tensor y = grouped(conv_batch_norm(conv, norm, x));
    return conv_batch_norm(depthwise, norm2, y, {.residual = y, .relu = true});
  }
};

Tensor small_input() {
  return random_tensor({2, 3, 9, 8}, kFloat32, 5);
}

/// Returns how often convolutions and norms ran in `function`: "batch_norm 2, conv2d 3".
std::string ops_in(const std::function<void()>& function) {
  Profiler profiler;
  function();
  std::map<std::string, int> counts;
  for (const ProfileSpan& span : profiler.stop().spans) {
    if (span.kind == SpanKind::kOp && (span.name.starts_with("conv2d") || span.name == "batch_norm")) {
      ++counts[span.name];
    }
  }
  std::vector<std::string> parts;
  for (const auto& [name, count] : counts) parts.push_back(fmt::format("{} {}", name, count));
  return fmt::format("{}", fmt::join(parts, ", "));
}
constexpr const char* kUsual = "batch_norm 2, conv2d 3";
constexpr const char* kServed = "conv2d_fused 3";

TEST_CASE("inference form: ResNets give the usual logits but for rounding, after loading a checkpoint too") {
  manual_seed(1);
  const TemporaryFolder folder;
  for (const char* architecture : {"resnet18", "resnet50"}) {
    INFO(architecture);
    ResNet model = make_resnet(architecture, {.num_classes = 10}),
           other = make_resnet(architecture, {.num_classes = 10});
    scramble(model, 1);
    scramble(other, 1000);
    model.eval();
    other.eval();
    const Tensor images = random_tensor({2, 3, 33, 32}, kFloat32, 5);
    const NoGradGuard no_grad;
    const Tensor expected = model(images), others = other(images);
    CHECK(relative_difference(others, expected) > 0.01);

    const TensorMap before = model.state_dict();
    const InferenceForm form(model);
    CHECK(relative_difference(form(images), expected) < 1e-5);
    CHECK(relative_difference(form(images), expected) < 1e-5);
    const bool deep = std::string_view(architecture) == "resnet50";
    CHECK(ops_in([&] { form(images); }) == (deep ? "conv2d_fused 53" : "conv2d_fused 20"));

    // The model is unchanged, and loading into it has an effect.
    for (const auto& [name, tensor] : model.state_dict())
      CHECK(tensor.storage() == before.at(name).storage());
    CHECK(ops::to_vector<float>(model(images)) == ops::to_vector<float>(expected));
    save_safetensors(folder / "weights", other.state_dict());
    model.load_state_dict(load_safetensors(folder / "weights").tensors);
    CHECK(relative_difference(form(images), others) < 1e-5);
  }
}

TEST_CASE("inference form: follows writes, replaced parameters and running statistics") {
  const Device device = GENERATE(from_range(test_devices()));
  SmallNet net(3);
  net.to(device);
  const Tensor x = small_input().to(device);
  const InferenceForm form(net);
  const auto check_current = [&] { CHECK(relative_difference(form(x), net(x)) < 1e-5); };
  check_current();
  for (const auto& named : {net.named_parameters(), net.named_buffers()}) {
    for (const auto& [name, tensor] : named) {
      if (!is_floating_point(tensor.dtype())) continue;
      INFO(name);
      const Tensor before = form(x);
      const NoGradGuard no_grad;
      ops::copy_(tensor, ops::mul(tensor, 1.5));
      check_current();
      CHECK(relative_difference(form(x), before) > 1e-4);
    }
  }
  net.conv.weight = ops::mul(net.conv.weight, 2);
  check_current();
  net.to(kFloat64);
  net.conv.weight = ops::cast(net.conv.weight, kFloat64);
  const Tensor wide = x.to(kFloat64);
  CHECK(relative_difference(form(wide), net(wide)) < 1e-13);
}

TEST_CASE("inference form: a scope serves its model, and only where nothing is recorded") {
  SmallNet net(4), other(5);
  const Tensor x = small_input();
  const InferenceForm form(net), second(net);
  CHECK(ops_in([&] { form(x); }) == kServed);
  CHECK(ops_in([&] { net(x); }) == kUsual);
  {
    const InferenceForm::Scope scope(form);
    CHECK(ops_in([&] { net(x); }) == kServed);
    CHECK_FALSE(net(x).requires_grad());
    CHECK(ops_in([&] { other(x); }) == kUsual);
    CHECK(ops_in([&] { std::thread([&] { net(x); }).join(); }) == kUsual);  // a scope belongs to its thread
    {
      const InferenceForm others(other);
      const InferenceForm::Scope inner(others);
      CHECK(ops_in([&] { other(x); }) == kServed);
      CHECK(ops_in([&] { net(x); }) == kUsual);
    }
    CHECK(ops_in([&] { net(x); }) == kServed);
    CHECK(ops_in([&] { second(x); }) == kServed);

    const EnableGradGuard grad;
    CHECK(ops_in([&] { net(x).sum().backward(); }).starts_with(kUsual));
    CHECK(net.conv.weight.grad().defined());
  }
  CHECK(ops_in([&] { net(x); }) == kUsual);
  CHECK(net(x).requires_grad());
}

TEST_CASE("inference form: hooks and training mode see the usual layers") {
  SmallNet net(4);
  const Tensor x = small_input();
  const InferenceForm form(net);
  const Tensor folded = form(x);
  // A hook sees its layer's own result, so the pair is not folded while the hook exists.
  int seen = 0;
  HookHandle hook = net.conv.register_forward_hook([&](Layer&, const Tensor&, const Tensor& output) {
    ++seen;
    CHECK(relative_difference(output, conv2d(x, net.conv.weight, net.conv.bias, net.conv.options)) < 1e-5);
    return Tensor();
  });
  CHECK(relative_difference(form(x), folded) < 1e-5);
  CHECK(seen == 1);
  CHECK(ops_in([&] { form(x); }) == "batch_norm 1, conv2d 1, conv2d_fused 3");  // conv2d is the hook's own
  hook.remove();
  CHECK(ops::to_vector<float>(form(x)) == ops::to_vector<float>(folded));
  CHECK(seen == 2);

  // In training mode norms use the batch's statistics, and weights change too often to be kept.
  net.train();
  CHECK_THROWS_WITH(form(x), "InferenceForm: SmallNet is in training mode; call its eval() first");
  const InferenceForm::Scope scope(form);
  const auto before = ops::to_vector<float>(net.norm.running_mean);
  CHECK(ops_in([&] { net(x); }) == "batch_norm 2, conv2d 3");
  CHECK(ops::to_vector<float>(net.norm.running_mean) != before);
}

TEST_CASE("inference form: serves models with other signatures") {
  struct Siamese : Module {
    SmallNet& features = register_module<SmallNet>("features", 6);
    Tensor operator()(const Tensor& a, const Tensor& b) { return ops::sub(features(a), features(b)); }
  } model;
  model.eval();
  const Tensor a = small_input(), b = random_tensor({2, 3, 9, 8}, kFloat32, 6), expected = model(a, b);
  const InferenceForm form(model);
  CHECK_THROWS_WITH(form(a), "InferenceForm: Siamese is no Layer; call it within an InferenceForm::Scope");
  const InferenceForm::Scope scope(form);
  CHECK(relative_difference(model(a, b), expected) < 1e-5);
  CHECK(ops_in([&] { model(a, b); }) == "conv2d_fused 6");
}

TEST_CASE("inference form: several threads may share one, and what is written between their calls counts") {
  SmallNet net(7);
  const Tensor x = small_input();
  const InferenceForm form(net);
  for (int round = 0; round < 3; ++round) {
    const Tensor expected = net(x);
    std::vector<std::vector<float>> results(8);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < results.size(); ++i) {
      threads.emplace_back([&, i] {
        std::optional<InferenceForm::Scope> scope;
        if (i % 2 == 0) scope.emplace(form);
        for (int call = 0; call < 3; ++call) {
          results[i] = ops::to_vector<float>(i % 2 == 0 ? net(x) : form(x));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& result : results) CHECK(result == results[0]);
    CHECK(relative_difference(from_vector(results[0], expected.shape()), expected) < 1e-5);
    const NoGradGuard no_grad;
    ops::copy_(net.norm.weight, ops::mul(net.norm.weight, 1.5));
  }
}

}  // namespace
}  // namespace taper
