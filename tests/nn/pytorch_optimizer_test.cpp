// Optimisers' states, to and from torch.optim.

#include "taper/nn/io/pytorch_optimizer.h"

#include <catch2/catch.hpp>

#include "oracle.h"
#include "pickle_values.h"
#include "taper/nn/io/pytorch_file.h"
#include "taper/nn/optim/adam.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/lamb.h"
#include "taper/nn/optim/sgd.h"
#include "taper/ops/copy/create.h"
#include "temporary_folder.h"

namespace taper {
namespace {

using Catch::Contains;
using Dict = PickleValue::Dict;
using List = PickleValue::List;

/// Two groups, as in tests/oracle/pytorch_optimizer_oracle.py. The names are in another order than the numbers.
template <class Optim>
std::unique_ptr<Optimizer> make(const std::vector<Tensor>& params) {
  using Group = typename Optim::Group;
  return std::make_unique<Optim>(
      std::vector<Group>{{{{"z", params[0]}, {"y", params[1]}}, {}}, {{{"a", params[2]}}, {}}});
}

std::vector<Tensor> zeros() {
  return {ops::zeros({3, 4}), ops::zeros({5}), ops::zeros({2, 3, 2, 2})};
}

void step_once(Optimizer& optimizer, const std::vector<Tensor>& params) {
  for (const Tensor& param : params) param.set_grad(ops::ones_like(param));
  optimizer.step();
}

/// Returns `dict` with another value under `key`, which is in it.
PickleValue with(const PickleValue& dict, const std::string& key, PickleValue value) {
  Dict copy = dict.get<Dict>();
  for (PickleEntry& entry : copy) {
    if (are_equal(entry.key, PickleValue(key))) {
      entry.value = std::move(value);
      return copy;
    }
  }
  FAIL("no " + key);
  return {};
}
PickleValue with_group_option(const PickleValue& state, const std::string& key, PickleValue value) {
  List groups = state.find("param_groups")->items();
  groups[0] = with(groups[0], key, std::move(value));
  return with(state, "param_groups", groups);
}

TEST_CASE("pytorch optimizers: a state goes out and comes in, through a file") {
  const TemporaryFolder folder;
  const auto check = [&]<class Optim>(auto set_options) {
    const std::vector<Tensor> params = zeros(), others = zeros();
    std::unique_ptr<Optimizer> optimizer = make<Optim>(params), other = make<Optim>(others);
    set_options(dynamic_cast<Optim&>(*optimizer).options(1));
    // Before the first update there is nothing to remember.
    CHECK(pytorch_state_dict(*optimizer).find("state")->get<Dict>().empty());
    for (int i = 0; i < 3; ++i) step_once(*optimizer, params);
    save_pytorch(folder / "state.pth", pytorch_state_dict(*optimizer));
    load_pytorch_state_dict(*other, load_pytorch(folder / "state.pth"));
    const SavedState expected = optimizer->state_dict(), got = other->state_dict();
    REQUIRE(got.tensors.size() == expected.tensors.size());
    for (const auto& [name, tensor] : expected.tensors) {
      INFO(name);
      CHECK(are_equal(got.tensors.at(name), tensor));
    }
    for (const auto& [name, number] : expected.numbers) {
      INFO(name);
      if (name.starts_with("step.") && std::is_same_v<Optim, SGD>) continue;  // PyTorch's SGD does not count
      CHECK(got.numbers.at(name) == number);
    }
  };
  check.operator()<SGD>(
      [](SgdOptions& options) { options = {.lr = 0.25, .momentum = 0.5, .nesterov = true}; });
  check.operator()<Adam>([](AdamOptions& options) {
    options = {.lr = 0.25,
               .beta1 = 0.5,
               .beta2 = 0.75,
               .eps = 1e-4,
               .weight_decay = 0.5,
               .decoupled_weight_decay = true};
  });
  check.operator()<AdamW>(
      [](AdamWOptions& options) { options = {.lr = 0.25, .beta1 = 0.5, .beta2 = 0.75, .eps = 1e-4}; });
}

TEST_CASE("pytorch optimizers: what does not fit is refused, and changes nothing") {
  const std::vector<Tensor> params = zeros();
  const std::unique_ptr<Optimizer> adamw = make<AdamW>(params);
  step_once(*adamw, params);
  const PickleValue good = pytorch_state_dict(*adamw);
  const auto refused = [&](const PickleValue& state, const std::string& message) {
    const SavedState before = adamw->state_dict();
    CHECK_THROWS_WITH(load_pytorch_state_dict(*adamw, state), Contains(message));
    CHECK(adamw->state_dict().numbers == before.numbers);
  };
  load_pytorch_state_dict(*adamw, good);
  refused(Dict{{"state", Dict{}}}, "lacks 'param_groups'");
  refused(Dict{{"param_groups", List{}}, {"state", Dict{}}}, "has 0 groups, the optimiser 2");
  refused(with_group_option(good, "params", List{0}),
          "group 0 of the saved state has 1 parameters, the optimiser's 2");
  refused(with_group_option(good, "amsgrad", true), "amsgrad");
  refused(with_group_option(good, "maximize", true), "maximize");
  refused(with_group_option(good, "betas", PickleValue::Tuple{{0.5}}), "1 betas, not 2");
  refused(with_group_option(good, "lr", "fast"), "the text 'fast'");
  refused(with_group_option(good, "decoupled_weight_decay", false),
          "Adam with weight decay in its gradients");
  load_pytorch_state_dict(
      *adamw, with_group_option(with_group_option(with_group_option(good, "decoupled_weight_decay", false),
                                                  "weight_decay", 0),
                                "lr", ops::full({}, 0.5)));
  CHECK(adamw->lr() == 0.5);
  refused(with(good, "state", Dict{{9, Dict{}}}), "1 parameters more than its groups");
  refused(with(good, "state", Dict{{0, Dict{{"exp_avg", ops::zeros({3, 4})}, {"step", 1}}}}),
          "no exp_avg_sq.z");
  refused(with(good, "state", Dict{{0, Dict{{"exp_avg", ops::zeros({3, 4})}}}}), "lacks 'step'");
  refused(with(good, "state",
               Dict{{0, Dict{{"exp_avg", ops::zeros({4})}, {"exp_avg_sq", ops::zeros({4})}, {"step", 1}}}}),
          "is [4], the parameter [3, 4]");
  const std::unique_ptr<Optimizer> adam = make<Adam>(zeros());
  load_pytorch_state_dict(*adam, good);
  CHECK(adam->state_dict().numbers.at("group0.decoupled_weight_decay") == 1);
  Dict early = good.find("param_groups")->items()[0].get<Dict>();  // as earlier versions of PyTorch have it
  std::erase_if(early,
                [](const PickleEntry& e) { return are_equal(e.key, PickleValue("decoupled_weight_decay")); });
  List groups = good.find("param_groups")->items();
  groups[0] = early;
  load_pytorch_state_dict(*adam, with(good, "param_groups", groups));
  CHECK(adam->state_dict().numbers.at("group0.decoupled_weight_decay") == 0);
  CHECK(adam->state_dict().numbers.at("group1.decoupled_weight_decay") == 1);
  CHECK_THROWS_WITH(pytorch_state_dict(*make<Lamb>(zeros())), Contains("no counterpart in torch.optim"));
  const std::unique_ptr<Optimizer> sgd = make<SGD>(zeros());
  CHECK_THROWS_WITH(load_pytorch_state_dict(*sgd, good), Contains("lacks 'momentum'"));
}

TEST_CASE("pytorch optimizers: a training that PyTorch began ends as PyTorch ends it", "[oracle]") {
  const auto oracle = oracle_dir("pytorch_optimizer");
  if (!oracle) return;
  for (const std::string name :
       {"sgd", "sgd-late", "plain", "plain-late", "adamw", "adamw-late", "adam", "adam-late"}) {
    INFO(name);
    const PickleValue training = load_pytorch(*oracle + "/" + name + "-training.pth");
    const PickleValue saved = load_pytorch(*oracle + "/" + name + ".pth");
    std::vector<Tensor> params;
    for (const char* i : {"0", "1", "2"})
      params.push_back(ops::clone(training.find("params")->find(i)->get<Tensor>()));
    const std::unique_ptr<Optimizer> optimizer = name.starts_with("adamw")  ? make<AdamW>(params)
                                                 : name.starts_with("adam") ? make<Adam>(params)
                                                                            : make<SGD>(params);
    load_pytorch_state_dict(*optimizer, saved);

    // What goes out again has all that came in, and the same in it.
    const PickleValue again = pytorch_state_dict(*optimizer);
    const List &groups = saved.find("param_groups")->items(), &own = again.find("param_groups")->items();
    REQUIRE(own.size() == groups.size());
    for (size_t g = 0; g < groups.size(); ++g) {
      for (const PickleEntry& entry : groups[g].get<Dict>()) {
        const std::string& key = entry.key.get<std::string>();
        INFO(key);
        const PickleValue* value = own[g].find(key);
        REQUIRE(value != nullptr);
        if (key == "fused" || key == "foreach") continue;  // which of PyTorch's loops runs
        if (key == "betas" || key == "params" || entry.value.is_none())
          CHECK(are_equal(*value, entry.value));
        else
          CHECK(value->number() == entry.value.number());
      }
    }
    for (const PickleEntry& entry : saved.find("state")->get<Dict>()) {
      const auto* dict = std::get_if<Dict>(&again.find("state")->content());
      const auto found =
          std::ranges::find_if(*dict, [&](const PickleEntry& e) { return are_equal(e.key, entry.key); });
      for (const PickleEntry& memory : entry.value.get<Dict>()) {
        if (memory.value.is_none()) continue;
        REQUIRE(found != dict->end());
        const PickleValue* value = found->value.find(memory.key.get<std::string>());
        REQUIRE(value != nullptr);
        CHECK(are_equal(*value, memory.value));
      }
    }

    save_pytorch(*oracle + "/" + name + "-of-taper.pth", again);  // for the test compare_pytorch_continues
    for (const char* step : {"3", "4"}) {
      for (size_t i = 0; i < params.size(); ++i)
        params[i].set_grad(
            ops::clone(training.find("grads")->find(fmt::format("{}.{}", step, i))->get<Tensor>()));
      optimizer->step();
    }
    for (size_t i = 0; i < params.size(); ++i) {
      const Tensor expected = training.find("results")->find(fmt::format("{}", i))->get<Tensor>();
      const std::vector<float> a = ops::to_vector<float>(params[i]), b = ops::to_vector<float>(expected);
      for (size_t k = 0; k < a.size(); ++k) CHECK(a[k] == Approx(b[k]).epsilon(1e-5).margin(1e-6));
    }
  }
}

}  // namespace
}  // namespace taper
