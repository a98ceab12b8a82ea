// Where fine-tuning begins: weights of a network with another head, and parts that are frozen.

#include <catch2/catch.hpp>
#include <set>

#include "small_resnet.h"
#include "taper/autograd/functions.h"
#include "taper/autograd/tape/op_trace.h"
#include "taper/core/generator.h"
#include "taper/nn/models/freeze.h"
#include "taper/nn/models/pretrained.h"
#include "taper/nn/optim/sgd.h"
#include "taper/ops/copy/copy.h"
#include "test_tensors.h"
#include "tolerance.h"

using namespace taper;
using Catch::Contains;
using taper::test::SmallResNet;
using Names = std::vector<std::string>;

namespace {

bool has_values_of(const Tensor& a, const Tensor& b) {
  return ops::to_vector<double>(a) == ops::to_vector<double>(b);
}

/// Returns copies of a model's tensors, with every element changed.
StateDict other_weights(const Module& model) {
  StateDict state;
  for (const auto& [name, tensor] : model.state_dict()) state.tensors[name] = ops::clone(tensor + 1);
  return state;
}

/// Returns the ops of the backward pass of a training step, by the op that each belongs to.
std::multiset<std::string> backward_of_a_step(SmallResNet& model, const Tensor& x) {
  const OpTrace trace;
  model(x).sum().backward();
  std::multiset<std::string> names;
  for (const TracedOp& op : trace.ops())
    if (!op.within.empty()) names.insert(std::string(op.within));
  return names;
}

}  // namespace

TEST_CASE("fine-tuning: a head of other classes stays fresh, and all else is taken") {
  SmallResNet model;
  StateDict weights = other_weights(model);
  const auto total = int64_t(weights.tensors.size());
  CHECK(load_pretrained(model, weights).str("FILE") ==
        fmt::format("{} of {} tensors from FILE", total, total));

  weights.tensors["fc.weight"] = ops::zeros({7, 16});
  weights.tensors["fc.bias"] = ops::zeros({7});
  const StateDict before = {model.state_dict()};
  const Tensor head = ops::clone(model.fc.weight.detach());
  weights.tensors["conv1.weight"] = ops::full(model.conv1.weight.shape(), 5);
  const PretrainedReport report = load_pretrained(model, weights);
  CHECK(report.str("FILE") == fmt::format("{} of {} tensors from FILE; fc.weight, fc.bias are new: 7 classes "
                                          "there, 10 here",
                                          total - 2, total));
  CHECK(report.fresh == Names{"fc.weight", "fc.bias"});
  CHECK(has_values_of(model.fc.weight.detach(), head));
  CHECK(has_values_of(model.conv1.weight.detach(), weights.tensors["conv1.weight"]));
  CHECK(model.fc.weight.requires_grad());

  weights.tensors.erase("fc.weight");
  weights.tensors.erase("fc.bias");
  CHECK_THAT(load_pretrained(model, weights).str("FILE"), Contains("are new: no classes there, 10 here"));
  weights.tensors.erase("bn1.num_batches_tracked");
  CHECK_THAT(load_pretrained(model, weights).str("FILE"), Contains("; 1 counters of batches are not in it"));
}

TEST_CASE("fine-tuning: weights of another network are refused, and nothing is taken of them") {
  SmallResNet model;
  const Tensor conv1 = ops::clone(model.conv1.weight.detach());
  const auto refused = [&](const std::function<void(TensorMap&)>& change, const std::string& says) {
    StateDict weights = other_weights(model);
    change(weights.tensors);
    CHECK_THROWS_WITH(load_pretrained(model, weights), Contains(says));
    CHECK(has_values_of(model.conv1.weight.detach(), conv1));
  };
  refused([](TensorMap& w) { w.erase("block1.conv1.weight"); }, "1 missing ('block1.conv1.weight')");
  refused([](TensorMap& w) { w["block9.conv1.weight"] = ops::zeros({1}); }, "1 unexpected");
  refused([](TensorMap& w) { w["bn1.weight"] = ops::zeros({9}); }, "'bn1.weight': got [9], needs [8]");
  refused([](TensorMap& w) { w["fc.weight"] = ops::zeros({7, 99}); }, "got [7, 99], needs [10, 16]");
  refused([](TensorMap& w) { w["fc.bias"] = ops::zeros({}); }, "'fc.bias': got [], needs [10]");
  refused([](TensorMap& w) { w.erase("fc.bias"); }, "1 missing ('fc.bias')");
}

TEST_CASE("fine-tuning: frozen names are whole components") {
  struct Layers : Module {
    Linear& layer1 = register_module<Linear>("layer1", 2, 3);
    Linear& layer10 = register_module<Linear>("layer10", 2, 5);
  } model;
  CHECK(freeze(model, {"layer1"}) == 2 * 3 + 3);
  CHECK(!model.layer1.weight.requires_grad());
  CHECK(model.layer10.weight.requires_grad());
  const NamedTensors left = trainable_parameters(model);
  REQUIRE(left.size() == 2);
  CHECK(left[0].first == "layer10.weight");
  CHECK(freeze(model, {"layer10.bias", "layer10.bias"}) == 5);
  for (const char* name : {"layer", "layer1.", "layer1.weights", "", "Layer1"})
    CHECK_THROWS_WITH(freeze(model, {"layer10.bias", name}), Contains("choose from layer1, layer10"));
  CHECK_THROWS_WITH(freeze(model, {"layer1", "layer10"}), Contains("all parameters would be frozen"));
  CHECK(model.layer10.weight.requires_grad());
}

TEST_CASE("fine-tuning: backward ends above what is frozen") {
  const Device device = GENERATE(from_range(test_devices()));
  SmallResNet model;
  model.to(device);
  const Tensor x = random_tensor({2, 3, 8, 8}, kFloat32, 1).to(device);
  const auto whole = backward_of_a_step(model, x);
  CHECK(whole.count("conv2d backward") == 13);  // of 7 convolutions the first needs no gradient of its input
  CHECK(whole.count("max_pool2d backward") > 0);
  const NamedTensors all = model.named_parameters();
  for (const auto& [name, parameter] : all) parameter.set_grad({});

  freeze(model, {"conv1", "bn1", "block1"});
  const auto part = backward_of_a_step(model, x);
  CHECK(part.count("max_pool2d backward") == 0);
  CHECK(part.count("conv2d backward") == 6);  // of the 4 convolutions of block2 two read what is frozen
  for (const auto& [name, parameter] : all) {
    INFO(name);
    const bool frozen = name.starts_with("conv1") || name.starts_with("bn1") || name.starts_with("block1");
    CHECK(parameter.grad().defined() == !frozen);
  }
}

TEST_CASE("fine-tuning: a frozen part keeps its weights and statistics in a training step") {
  const Device device = GENERATE(from_range(test_devices()));
  const auto which = GENERATE(std::optional<BatchNorms>(), BatchNorms::kFrozen, BatchNorms::kAll);
  manual_seed(1);
  SmallResNet model;
  model.to(device);
  freeze(model, {"conv1", "bn1", "block1"});
  if (which) CHECK(freeze_batch_norms(model, *which) == (*which == BatchNorms::kAll ? 7 : 3));
  TensorMap before;
  for (const auto& [name, tensor] : model.state_dict()) before[name] = ops::clone(tensor);

  SGD optimizer(trainable_parameters(model), {.lr = 0.1, .momentum = 0.9});
  model.train();  // as the training loop calls it: the statistics stay frozen
  model(random_tensor({2, 3, 8, 8}, kFloat32, 1).to(device)).sum().backward();
  optimizer.step();
  for (const auto& [name, tensor] : model.state_dict()) {
    INFO(name);
    const bool statistic = name.find("running") != name.npos || name.find("tracked") != name.npos;
    const bool in_frozen = name.starts_with("conv1") || name.starts_with("bn1") || name.starts_with("block1");
    const bool kept = !statistic ? in_frozen : which && (*which == BatchNorms::kAll || in_frozen);
    CHECK(has_values_of(tensor, before[name]) == kept);
  }
}

TEST_CASE("fine-tuning: frozen batch norms compute in training what they compute in evaluation") {
  const Device device = GENERATE(from_range(test_devices()));
  SmallResNet model;
  model.to(device);
  const Tensor x = random_tensor({2, 3, 8, 8}, kFloat32, 1).to(device);
  model(x);  // moves the statistics away from 0 and 1
  freeze_batch_norms(model, BatchNorms::kAll);
  const Tensor training = model(x);
  model.eval();
  check_close(training, model(x), tolerance(kFloat32, 64));
}

TEST_CASE("fine-tuning: dropout before the last layer adds no name, and acts in training alone") {
  manual_seed(2);
  ResNet plain = resnet18({.num_classes = 3});
  ResNet dropping = resnet18({.num_classes = 3, .dropout = 0.5});
  dropping.load_state_dict(plain.state_dict());  // strict: every name fits
  const Tensor x = random_tensor({2, 3, 32, 32}, kFloat32, 1);
  plain.eval();
  dropping.eval();
  const Tensor expected = plain(x);
  CHECK(has_values_of(dropping(x), expected));
  freeze_batch_norms(dropping, BatchNorms::kAll);  // so that dropout is all that training changes
  dropping.train();
  CHECK(!has_values_of(dropping(x), expected));
}
