// Modules: names, parameters, conversions, state, hooks, and summaries.

#include "taper/nn/module.h"

#include <catch2/catch.hpp>
#include <optional>

#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/nn/io/safetensors.h"
#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/layers/relu.h"
#include "taper/nn/layers/sequential.h"
#include "taper/nn/report/summary.h"
#include "temporary_folder.h"

namespace taper {
namespace {

using Catch::Contains;
using Strings = std::vector<std::string>;

/// y = x * factor + count, where count says how often forward() ran in training mode.
struct Scale : Layer {
  explicit Scale(double start) { ops::fill_(factor, start); }
  Tensor factor = register_parameter("factor", ops::zeros({1}));
  Tensor count = register_buffer("count", ops::zeros({}, {.dtype = kInt64}));
  Tensor offset = register_buffer("offset", ops::zeros({2}));
  Tensor forward(const Tensor& x) override {
    if (is_training()) ops::fill_(count, ops::item<int64_t>(count) + 1);
    return add(mul(x, factor), offset);
  }
};

struct Net : Layer {
  Linear& hidden = register_module<Linear>("hidden", 2, 3);
  Sequential& tail = register_module<Sequential>("tail");
  Scale& scale = register_module<Scale>("scale", 2);
  Tensor temperature = register_parameter("temperature", ops::ones({}));
  Net() { tail.add<ReLU>().add<Linear>(3, 2, kNoBias); }
  Tensor forward(const Tensor& x) override { return scale(tail(hidden(x))); }
};

/// A module with two inputs, one a vector for each row, and without forward().
struct TwoTowers : Module {
  Linear& left = register_module<Linear>("left", 2, 3);
  Net& right = register_module<Net>("right");
  Linear& head = register_module<Linear>("head", 2, 3, kNoBias);
  Tensor scale = register_parameter("scale", ops::full({3}, 0.5));

  Tensor operator()(const Tensor& a, const Tensor& b) { return left(a) + head(right(b)) * scale; }
};

/// Two parts that share one tensor.
struct Tied : Layer {
  Linear& a = register_module<Linear>("a", 2, 2, kNoBias);
  std::shared_ptr<Linear> shared = std::make_shared<Linear>(2, 2);
  Linear& b = register_module("b", shared);
  Linear& again = register_module("again", shared);
  Tensor forward(const Tensor& x) override { return again(b(a(x))); }
};

template <class Named>
Strings names_of(const Named& named) {
  Strings names;
  for (const auto& [name, thing] : named) names.push_back(name);
  return names;
}

Tensor input() {
  return from_vector<float>({1, -2, 0.5f, 3}, {2, 2});
}

TEST_CASE("module: names are dotted paths in order of registration, own tensors before those of parts") {
  Net net;
  CHECK(names_of(net.named_parameters()) ==
        Strings{"temperature", "hidden.weight", "hidden.bias", "tail.1.weight", "scale.factor"});
  CHECK(names_of(net.named_parameters(false)) == Strings{"temperature"});
  CHECK(names_of(net.named_buffers()) == Strings{"scale.count", "scale.offset"});
  CHECK(names_of(net.named_children()) == Strings{"hidden", "tail", "scale"});
  CHECK(names_of(net.named_modules()) == Strings{"", "hidden", "tail", "tail.0", "tail.1", "scale"});
  CHECK(net.parameter_count() == 1 + 6 + 3 + 6 + 1);
  for (const Tensor& parameter : net.parameters()) CHECK(parameter.requires_grad());
  for (const Tensor& buffer : net.buffers()) CHECK_FALSE(buffer.requires_grad());
}

TEST_CASE("module: what is shared is listed once, but saved under every name") {
  Tied tied;
  CHECK(names_of(tied.named_parameters()) == Strings{"a.weight", "b.weight", "b.bias"});
  CHECK(names_of(tied.named_modules()) == Strings{"", "a", "b"});
  CHECK(tied.parameter_count() == 4 + 4 + 2);
  CHECK(names_of(tied.state_dict()) ==
        Strings{"a.weight", "again.bias", "again.weight", "b.bias", "b.weight"});
}

TEST_CASE("module: names that would clash are refused") {
  struct Twice : Net {
    explicit Twice(const std::string& name) { register_buffer(name, ops::zeros({1})); }
  };
  CHECK_THROWS_WITH(Twice("hidden"), Catch::Contains("'hidden' is taken"));
  CHECK_THROWS_WITH(Twice("temperature"), Catch::Contains("'temperature' is taken"));
  CHECK_THROWS_WITH(Twice("a.b"), Catch::Contains("hold no dot"));
  CHECK_THROWS_WITH(Twice(""), Catch::Contains("not empty"));
}

TEST_CASE("module: train and eval reach every part; apply runs parts first") {
  Net net;
  CHECK(net.is_training());
  net.eval();
  for (const auto& [name, module] : net.named_modules()) CHECK_FALSE(module->is_training());
  net(input());
  CHECK(net.scale.count.item<int64_t>() == 0);
  net.train();
  net(input());
  CHECK(net.scale.count.item<int64_t>() == 1);

  Strings order;
  net.apply([&](Module& module) { order.push_back(module.type_name()); });
  CHECK(order == Strings{"Linear", "ReLU", "Linear", "Sequential", "Scale", "Net"});
}

TEST_CASE("module: gradients reach the parameters and are dropped or zeroed") {
  Net net;
  sum(net(input())).backward();
  CHECK(net.hidden.weight.grad().defined());
  CHECK(net.scale.factor.grad().defined());
  CHECK_FALSE(net.temperature.grad().defined());
  net.zero_grad(/*set_to_none=*/false);
  CHECK(to_vector<float>(net.hidden.weight.grad()) == std::vector<float>(6, 0));
  net.zero_grad();
  for (const Tensor& parameter : net.parameters()) CHECK_FALSE(parameter.grad().defined());

  net.hidden.set_requires_grad(false);
  sum(net(input())).backward();
  CHECK_FALSE(net.hidden.weight.grad().defined());
  CHECK(net.scale.factor.grad().defined());
}

TEST_CASE("module: one with two inputs trains, saves and loads, by itself and inside another") {
  struct Matcher : Module {
    TwoTowers& towers = register_module<TwoTowers>("towers");
    BatchNorm2d& norm = register_module<BatchNorm2d>("norm", 3);
    std::pair<Tensor, Tensor> operator()(const Tensor& a, const Tensor& b) {
      const Tensor y = towers(a, b);
      return {y, norm(y.reshape({2, 3, 1, 1}))};
    }
  };
  Matcher saved, loaded;
  CHECK(names_of(saved.towers.named_parameters()) ==
        Strings{"scale", "left.weight", "left.bias", "right.temperature", "right.hidden.weight",
                "right.hidden.bias", "right.tail.1.weight", "right.scale.factor", "head.weight"});
  CHECK(names_of(saved.named_children()) == Strings{"towers", "norm"});
  CHECK(saved.named_parameters()[0].first == "towers.scale");
  CHECK(saved.type_name() == "Matcher");

  const Tensor a = input(), b = add(input(), 1);
  sum(saved(a, b).first).backward();
  CHECK(saved.towers.left.weight.grad().defined());
  CHECK(to_vector<float>(saved.towers.scale.grad()) ==
        to_vector<float>(sum(saved.towers.head(saved.towers.right(b)), {0})));
  saved.zero_grad();
  CHECK_FALSE(saved.towers.scale.grad().defined());

  saved.eval();
  loaded.eval();
  CHECK_FALSE(loaded.towers.right.scale.is_training());
  const auto results = [&](Matcher& matcher) {
    const auto [y, normal] = matcher(a, b);
    return std::pair(to_vector<float>(y), to_vector<float>(normal));
  };
  CHECK(results(saved) != results(loaded));
  CHECK(loaded.load_state_dict(saved.state_dict()).complete());
  CHECK(results(saved) == results(loaded));
  loaded.to(kFloat64);
  CHECK(loaded.towers(a.to(kFloat64), b.to(kFloat64)).dtype() == kFloat64);
}

template <class M>
concept FitsSequential = requires(Sequential chain) {
  chain.add<M>();
};
static_assert(FitsSequential<ReLU> && !FitsSequential<TwoTowers>);

template <class L>
struct Residual : Layer {
  L& body = register_module<L>("body", 2, 2);
  Tensor forward(const Tensor& x) override { return x + body(x); }
  struct Part : Module {};
};

TEST_CASE("module: a type's name is the class's own, in template arguments too") {
  struct Local : Module {};
  struct Odd : Module {
    std::string type_name() const override { return "even"; }
  };
  CHECK(Linear(1, 1).type_name() == "Linear");
  CHECK(Net().type_name() == "Net");  // in an anonymous namespace
  CHECK(Local().type_name() == "Local");
  CHECK(Residual<Linear>().type_name() == "Residual<Linear>");
  CHECK(Residual<Linear>::Part().type_name() == "Part");
  struct Pair : Module {};
  const auto local = [](auto, auto) {
    struct InLambda : Module {};
    return InLambda().type_name();
  };
  CHECK(local(Pair(), std::vector<int>()) == "InLambda");
  CHECK(Odd().type_name() == "even");
}

TEST_CASE("module: to() converts in place what every holder sees, and leaves integers alone") {
  Net net;
  const std::vector<Tensor> held = net.parameters();
  const std::vector<float> before = to_vector<float>(net.hidden.weight);
  sum(net(input())).backward();
  net.to(kFloat64);
  for (const Tensor& parameter : held) CHECK(parameter.dtype() == kFloat64);
  CHECK(net.hidden.weight.grad().dtype() == kFloat64);
  CHECK(to_vector<float>(net.hidden.weight) == before);
  CHECK(net.scale.offset.dtype() == kFloat64);
  CHECK(net.scale.count.dtype() == kInt64);
  CHECK(net.hidden.weight.requires_grad());

  // A graph recorded now computes in f64 and adds to the converted gradient.
  const std::vector<double> once = to_vector<double>(net.scale.factor.grad());
  sum(net(input().to(kFloat64))).backward();
  CHECK(to_vector<double>(net.scale.factor.grad())[0] == Approx(2 * once[0]));
  CHECK_THROWS_WITH(net.to(kInt64), Catch::Contains("must be floating-point, not i64"));
  net.to(Device());
}

TEST_CASE("module: to(device) moves parameters, gradients and buffers in place, and training goes on there") {
  const Device gpu("cuda");
  Net net;
  const std::vector<Tensor> held = net.parameters();
  sum(net(input())).backward();
  const std::vector<float> weight = to_vector<float>(net.hidden.weight),
                           grad = to_vector<float>(net.hidden.weight.grad());
  net.to(gpu);
  for (const Tensor& parameter : held) {
    CHECK(parameter.device() == gpu);
    if (parameter.grad().defined()) CHECK(parameter.grad().device() == gpu);
    CHECK(parameter.requires_grad());
  }
  for (const Tensor& buffer : net.buffers()) CHECK(buffer.device() == gpu);
  CHECK(to_vector<float>(net.hidden.weight) == weight);
  CHECK(to_vector<float>(net.hidden.weight.grad()) == grad);

  // What is recorded there adds to the gradients that moved along.
  sum(net(input().to(gpu))).backward();
  const std::vector<float> twice = to_vector<float>(net.hidden.weight.grad());
  for (size_t i = 0; i < grad.size(); ++i) CHECK(twice[i] == Approx(2 * grad[i]).margin(1e-6));
  net.to(Device());
  CHECK(net.hidden.weight.grad().device() == Device());
}

TEST_CASE("module: state survives a file and another dtype") {
  const TemporaryFolder folder;
  Net saved;
  saved(input());
  save_safetensors(folder / "net", saved.state_dict());
  const TensorMap state = load_safetensors(folder / "net").tensors;

  Net loaded;
  CHECK(loaded.load_state_dict(state).complete());
  loaded.eval();
  saved.eval();
  CHECK(to_vector<float>(loaded(input())) == to_vector<float>(saved(input())));
  CHECK(loaded.scale.count.item<int64_t>() == 1);
  CHECK(loaded.hidden.weight.requires_grad());

  Net wide;
  wide.to(kFloat64);
  wide.load_state_dict(state);
  CHECK(wide.hidden.weight.dtype() == kFloat64);
  CHECK(to_vector<float>(wide.hidden.weight) == to_vector<float>(saved.hidden.weight));
}

TEST_CASE("module: strict loading names all that does not fit and changes nothing") {
  Net net;
  TensorMap state = Net().state_dict();
  state.erase("hidden.bias");
  state["more"] = ops::zeros({1});
  state["tail.1.weight"] = ops::zeros({5, 3});
  const std::vector<float> before = to_vector<float>(net.hidden.weight);
  CHECK_THROWS_WITH(net.load_state_dict(state),
                    "load_state_dict: Net does not fit: 1 missing ('hidden.bias'); 1 unexpected ('more'); "
                    "1 of another shape ('tail.1.weight': got [5, 3], needs [2, 3])");
  CHECK(to_vector<float>(net.hidden.weight) == before);

  const LoadReport report = net.load_state_dict(state, /*strict=*/false);
  CHECK_FALSE(report.complete());
  CHECK(report.missing == Strings{"hidden.bias"});
  CHECK(report.unexpected == Strings{"more"});
  REQUIRE(report.mismatched.size() == 1);
  CHECK(report.mismatched[0].needed == Shape{2, 3});
  CHECK(to_vector<float>(net.hidden.weight) == to_vector<float>(state["hidden.weight"]));
}

TEST_CASE("module: weights older than batch norm's counter load, as in PyTorch") {
  BatchNorm2d saved(2), loaded(2);
  ops::fill_(saved.running_mean, 3);
  ops::fill_(loaded.num_batches_tracked, 5);
  TensorMap state = saved.state_dict();
  state.erase("num_batches_tracked");
  CHECK(loaded.load_state_dict(state).complete());
  CHECK(to_vector<float>(loaded.running_mean) == std::vector<float>{3, 3});
  CHECK(loaded.num_batches_tracked.item<int64_t>() == 5);

  // In a part too. Other missing names are still reported, and a counter of another shape is rejected.
  Sequential net;
  net.add<Linear>(2, 2).add<BatchNorm2d>(2);
  state = net.state_dict();
  CHECK(state.contains("1.num_batches_tracked"));
  state.erase("1.num_batches_tracked");
  CHECK(net.load_state_dict(state).complete());
  state.erase("1.running_var");
  CHECK_THROWS_WITH(net.load_state_dict(state), Contains("1 missing ('1.running_var')"));
  state = net.state_dict();
  state["1.num_batches_tracked"] = ops::zeros({2}, {.dtype = kInt64});
  CHECK_THROWS_WITH(net.load_state_dict(state), Contains("1 of another shape"));
}

TEST_CASE("module: a prefix before all names is named, with the way out") {
  Net net;
  TensorMap wrapped, bare;
  for (const auto& [name, tensor] : net.state_dict()) wrapped["module." + name] = tensor;
  CHECK_THROWS_WITH(net.load_state_dict(wrapped),
                    Contains("what was given has 'module.' before every name: take it off (PyTorch's "
                             "DataParallel puts it there)"));
  TensorMap longer;
  for (const auto& [name, tensor] : wrapped) longer["model." + name] = tensor;
  CHECK_THROWS_WITH(net.load_state_dict(longer), Contains("has 'model.module.' before every name"));
  struct Wrapper : Module {
    Net& inner = register_module<Net>("module");
  } wrapper;
  CHECK_THROWS_WITH(wrapper.load_state_dict(net.state_dict()),
                    Contains("lacks the 'module.' before every name: put it there"));
  wrapped.erase("module.temperature");
  CHECK_THROWS_WITH(net.load_state_dict(wrapped), !Contains("before every name"));
}

TEST_CASE("layer: hooks see, replace, and come off") {
  Scale scale(2);
  const Tensor x = from_vector<float>({1, 2});
  Strings calls;
  HookHandle before = scale.register_forward_pre_hook([&](Layer& layer, const Tensor& input) {
    calls.push_back("before " + layer.type_name());
    return mul(input, 10);
  });
  HookHandle looking = scale.register_forward_hook([&](Layer&, const Tensor& input, const Tensor& output) {
    calls.push_back("after");
    CHECK(to_vector<float>(input) == std::vector<float>{10, 20});
    CHECK(to_vector<float>(output) == std::vector<float>{20, 40});
    return Tensor();
  });
  HookHandle changing =
      scale.register_forward_hook([](Layer&, const Tensor&, const Tensor& output) { return add(output, 1); });
  CHECK(to_vector<float>(scale(x)) == std::vector<float>{21, 41});
  CHECK(calls == Strings{"before Scale", "after"});

  before.remove();
  looking.remove();
  CHECK(to_vector<float>(scale(x)) == std::vector<float>{3, 5});
  changing.remove();
  changing.remove();
  CHECK(to_vector<float>(scale(x)) == std::vector<float>{2, 4});
  CHECK(calls.size() == 2);

  // A hook may remove itself while it runs. A handle may outlive its layer.
  HookHandle late = [] {
    Scale short_lived(1);
    return short_lived.register_forward_pre_hook([](Layer&, const Tensor&) { return Tensor(); });
  }();
  late.remove();
}

TEST_CASE("layer: hooks may register hooks, and keep what they count") {
  ReLU relu;
  const Tensor x = ones({2});
  std::vector<int> counts;
  int later = 0;
  relu.register_forward_hook([&, calls = 0](Layer& self, const Tensor&, const Tensor&) mutable -> Tensor {
    counts.push_back(++calls);
    for (int i = 0; i < 50; ++i) {
      self.register_forward_hook([&later](Layer&, const Tensor&, const Tensor&) {
        ++later;
        return Tensor();
      });
    }
    return {};
  });
  relu(x);
  CHECK(later == 0);
  relu(x);
  CHECK(later == 50);
  CHECK(counts == std::vector{1, 2});
}

TEST_CASE("layer: a hook that takes itself off may add others") {
  ReLU relu;
  int calls = 0;
  std::optional<HookHandle> own;
  own = relu.register_forward_hook([&](Layer& self, const Tensor&, const Tensor&) -> Tensor {
    own->remove();
    self.register_forward_hook([&calls](Layer&, const Tensor&, const Tensor&) {
      ++calls;
      return Tensor();
    });
    ++calls;
    return {};
  });
  relu(ones({2}));
  CHECK(calls == 1);
  relu(ones({2}));
  CHECK(calls == 2);
}

TEST_CASE("module: the summary counts parameters and arithmetic, and leaves the module as it was") {
  Net net;
  net.hidden.eval();
  net.hidden.set_requires_grad(false);
  const ModuleSummary table = summary(net, {4, 2});
  REQUIRE(table.rows.size() == 6);
  CHECK(table.rows[0].output_shape == Shape{4, 2});
  CHECK(table.rows[1].name == "hidden");
  CHECK(table.rows[1].output_shape == Shape{4, 3});
  CHECK(table.rows[1].parameters == 9);
  CHECK(table.rows[1].flops == 4 * 3 * (2 * 2));      // 2 products, 1 sum and the bias for each output
  CHECK(table.rows[4].flops == 4 * 2 * (2 * 3 - 1));  // no bias
  CHECK(table.rows[4].depth == 2);
  CHECK(table.parameters == net.parameter_count());
  CHECK(table.trainable_parameters == net.parameter_count() - 9);
  CHECK(table.flops == table.rows[1].flops + table.rows[4].flops);
  CHECK(net.scale.count.item<int64_t>() == 0);  // it ran in evaluation mode
  CHECK(net.is_training());
  CHECK_FALSE(net.hidden.is_training());
  CHECK(net.scale.is_training());
  const std::string text = table.str();
  CHECK_THAT(text, Catch::Contains("    1 (Linear)") && Catch::Contains("[4, 3]"));
  CHECK_THAT(text, Catch::Contains("17 parameters, 8 of them trainable"));
}

TEST_CASE("module: the summary of a module with its own signature runs what it is given") {
  TwoTowers towers;
  const ModuleSummary table = summary(towers, [&] {
    CHECK_FALSE(towers.left.is_training());
    towers(input(), input());
    towers.left(input());
  });
  CHECK(towers.left.is_training());
  REQUIRE(table.rows.size() == 9);
  CHECK_FALSE(table.rows[0].is_layer);
  CHECK(table.rows[0].parameters == 3);
  CHECK(table.rows[1].flops == 2 * (2 * 3 * 4));  // over both calls
  CHECK(table.rows[8].output_shape == Shape{2, 3});
  CHECK(table.parameters == towers.parameter_count());
  const std::string text = table.str();
  CHECK_THAT(text,
             Contains("\nTwoTowers              -       ") && !Contains("not called") && !Contains("Input"));
  CHECK_THAT(summary(towers, [] {}).str(), Contains("left (Linear)        not called"));
}

}  // namespace
}  // namespace taper
