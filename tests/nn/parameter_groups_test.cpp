// Groups of parameters by layer and dimension, and what optimisers and schedules make of them.

#include "taper/nn/optim/parameter_groups.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "taper/nn/models/resnet.h"
#include "taper/nn/optim/plateau.h"
#include "taper/nn/optim/schedule.h"
#include "taper/nn/optim/sgd.h"
#include "taper/ops/copy/create.h"

using namespace taper;
using Catch::Contains;

namespace {

Tensor parameter(const Shape& shape) {
  return ops::ones(shape).set_requires_grad();
}

/// Two layers and a head, each with a weight and a bias.
NamedTensors small_model() {
  NamedTensors result;
  for (const std::string layer : {"low", "high", "head"}) {
    result.emplace_back(layer + ".weight", parameter({2, 3}));
    result.emplace_back(layer + ".bias", parameter({2}));
  }
  return result;
}

std::string layer_of(const std::string& name) {
  return name.substr(0, name.find('.'));
}

/// "low.weight low.bias: 0.1 0.01".
std::vector<std::string> described(const std::vector<GroupedParameters>& groups) {
  std::vector<std::string> result;
  for (const GroupedParameters& group : groups) {
    std::string line;
    for (const auto& [name, parameter] : group.parameters) line += (line.empty() ? "" : " ") + name;
    result.push_back(fmt::format("{}: {:g} {:g}", line, group.lr, group.weight_decay));
  }
  return result;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("parameters that learn alike are in one group, in the model's order") {
  CHECK(described(group_parameters(small_model(), {.lr = 0.1, .weight_decay = 0.01})) ==
        Lines{"low.weight low.bias high.weight high.bias head.weight head.bias: 0.1 0.01"});
}

TEST_CASE("norms and biases may be left without decay") {
  CHECK(described(group_parameters(small_model(), {.lr = 0.1, .weight_decay = 0.01, .decay_norms = false})) ==
        Lines{"low.weight high.weight head.weight: 0.1 0.01", "low.bias high.bias head.bias: 0.1 0"});
}

TEST_CASE("a head has a learning rate of its own, and layers learn the more slowly the lower they are") {
  const NamedTensors model = small_model();
  CHECK(described(group_parameters(model, {.lr = 0.1, .layer_of = layer_of, .head_lr = 0.7})) ==
        Lines{"low.weight low.bias high.weight high.bias: 0.1 0", "head.weight head.bias: 0.7 0"});
  // The group of the given learning rate is the first, whose rate logs show.
  CHECK(
      described(group_parameters(model, {.lr = 0.1, .layer_of = layer_of, .layer_decay = 0.5})) ==
      Lines{"head.weight head.bias: 0.1 0", "low.weight low.bias: 0.025 0", "high.weight high.bias: 0.05 0"});
  CHECK(described(group_parameters(model, {.lr = 0.1,
                                           .weight_decay = 0.01,
                                           .decay_norms = false,
                                           .layer_of = layer_of,
                                           .head_lr = 0.7,
                                           .layer_decay = 0.5})) ==
        Lines{"low.weight: 0.025 0.01", "low.bias: 0.025 0", "high.weight: 0.05 0.01", "high.bias: 0.05 0",
              "head.weight: 0.7 0.01", "head.bias: 0.7 0"});
}

TEST_CASE("frozen parameters are in no group, and change nobody's depth") {
  NamedTensors model = small_model();
  model[2].second.set_requires_grad(false);
  model[3].second.set_requires_grad(false);
  CHECK(described(group_parameters(model, {.lr = 0.1, .layer_of = layer_of, .layer_decay = 0.5})) ==
        Lines{"head.weight head.bias: 0.1 0", "low.weight low.bias: 0.025 0"});
  for (auto& [name, tensor] : model) tensor.set_requires_grad(false);
  CHECK_THROWS_WITH(group_parameters(model, {}), Contains("none of the 6 parameters requires a gradient"));
}

TEST_CASE("groups refuse what makes no sense") {
  const NamedTensors model = small_model();
  CHECK_THROWS_WITH(group_parameters(model, {.head_lr = 0.1}), Contains("need layer_of"));
  CHECK_THROWS_WITH(group_parameters(model, {.layer_decay = 0.1}), Contains("need layer_of"));
  CHECK_THROWS_WITH(group_parameters(model, {.lr = -1}), Contains("lr (-1)"));
  CHECK_THROWS_WITH(group_parameters(model, {.layer_of = layer_of, .head_lr = -1}), Contains("head_lr (-1)"));
}

TEST_CASE("a ResNet's layers are its stem, its blocks and its head") {
  const ResNet model = resnet18({.num_classes = 10});
  Lines layers;
  for (const auto& [name, tensor] : model.named_parameters()) {
    const std::string layer = resnet_layer_of(name);
    if (layers.empty() || layers.back() != layer) layers.push_back(layer);
  }
  CHECK(layers == Lines{"stem", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1",
                        "layer4.0", "layer4.1", "fc"});
  const auto groups =
      group_parameters(model.named_parameters(), {.lr = 1, .layer_of = resnet_layer_of, .layer_decay = 0.5});
  REQUIRE(groups.size() == 10);
  CHECK(groups[0].parameters[0].first == "fc.weight");
  CHECK(groups[1].lr == std::pow(0.5, 9));  // the stem
  CHECK(groups[9].lr == 0.5);               // layer4.1
}

TEST_CASE("every group warms up to its own learning rate, and follows the schedule from there") {
  const auto groups = group_parameters(
      small_model(),
      {.lr = 0.1, .weight_decay = 0.01, .decay_norms = false, .layer_of = layer_of, .head_lr = 0.8});
  REQUIRE(groups.size() == 4);
  SGD optimizer(with_options(groups, SgdOptions{.momentum = 0.9}));
  CHECK(optimizer.options(0).momentum == 0.9);
  CHECK(optimizer.options(1).weight_decay == 0);
  CHECK(optimizer.parameter_names(2) == Lines{"head.weight"});
  const auto rates = [&] {
    std::vector<double> result;
    for (size_t g = 0; g < optimizer.group_count(); ++g) result.push_back(optimizer.lr(g));
    return result;
  };
  const auto check_rates = [&](double factor) {
    const std::vector<double> now = rates(), peaks = {0.1, 0.1, 0.8, 0.8};
    for (size_t g = 0; g < peaks.size(); ++g) CHECK(now[g] == Approx(factor * peaks[g]));
  };
  const auto cosine = with_warmup(optimizer, 4, std::make_shared<CosineAnnealingLr>(optimizer, 8), 0.25);
  check_rates(0.25);
  for (int i = 0; i < 2; ++i) cosine->step();
  check_rates(0.625);
  for (int i = 0; i < 2; ++i) cosine->step();
  check_rates(1);
  for (int i = 0; i < 4; ++i) cosine->step();
  check_rates(0.5);
}
