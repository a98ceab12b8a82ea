// What passes the ops' doorway (autograd/tape/tape.h), and what its listeners learn.

#include <catch2/catch.hpp>
#include <thread>

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/checkpoint.h"
#include "taper/autograd/tape/engine.h"
#include "taper/autograd/tape/function.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/autograd/tape/graph_drawing.h"
#include "taper/autograd/tape/op_trace.h"
#include "test_tensors.h"

using namespace taper;
using Catch::Matchers::Contains;

namespace {

std::vector<std::string> names(const OpTrace& trace) {
  std::vector<std::string> names;
  for (const TracedOp& op : trace.ops()) names.emplace_back(op.name);
  return names;
}

struct Twice {
  Tensor forward(SaveForBackward&, const Tensor& x) const { return x * 2; }
  Grads backward(const Backward& bw) const { return {bw.grad() * 2}; }
};

}  // namespace

TEST_CASE("a trace lists a step's ops with inputs, options and outputs, recorded or not") {
  const bool recorded = GENERATE(false, true);
  const Tensor x = randn({2, 3, 4, 4}), weight = randn({4, 3, 3, 3}).set_requires_grad(recorded);
  OpTrace trace;
  const Tensor loss = mean(relu(conv2d(x, weight, {}, {.stride = 2, .padding = {1, 0}})), {}, true);
  CHECK(trace.text({{"x", x}, {"w", weight}, {"loss", loss}}) ==
        "%2: f32 [2, 4, 2, 1] = conv2d(x: f32 [2, 3, 4, 4], w: f32 [4, 3, 3, 3], none; stride 2, padding [1, "
        "0])\n"
        "%3: f32 [2, 4, 2, 1] = relu(%2)\n"
        "loss: f32 [1, 1, 1, 1] = mean(%3; axes [], keepdim)\n");
  const auto& options = trace.ops()[0].options;
  REQUIRE(options.size() == 4);
  CHECK(options[2].name == "dilation");
  CHECK(std::get<int64_t>(options[2].value) == 1);
  CHECK(options[2].is_usual);
}

TEST_CASE("a trace shows the ops of a backward pass under the op that they differentiate") {
  const Tensor x = randn({3}).set_requires_grad();
  OpTrace trace;
  relu(x).backward(ones({3}));
  CHECK(trace.text({{"x", x}}) ==
        "%1: f32 [3] = relu(x: f32 [3])\n"
        "relu backward:\n"
        "  %3: f32 [3] = relu_backward(%2: f32 [3]; y %1)\n");
}

TEST_CASE("tensors of a trace are told apart by number, and views share storage") {
  OpTrace trace;
  const Tensor base = zeros({2, 2});
  Tensor row = base[0];
  row.add_(1);
  for (int i = 0; i < 3; ++i) row.exp();  // gone at once: the memory may be the last one's, the number is not
  const auto& ops = trace.ops();
  REQUIRE(names(trace) == std::vector<std::string>{"slice", "squeeze", "add_", "exp", "exp", "exp"});
  CHECK(ops[0].inputs[0].storage == ops[1].outputs[0].storage);
  CHECK(ops[0].inputs[0].tensor != ops[1].outputs[0].tensor);
  CHECK(ops[2].outputs[0].tensor == ops[2].inputs[0].tensor);
  CHECK(ops[3].outputs[0].tensor != ops[4].outputs[0].tensor);
  CHECK(ops[4].outputs[0].storage != ops[5].outputs[0].storage);
}

TEST_CASE("a detached tensor is the one that it came from; a view of all of it is not") {
  OpTrace trace;
  const Tensor y = exp(randn({2, 3}));
  neg(y.detach());
  neg(y.view({2, 3}));
  const auto& ops = trace.ops();
  REQUIRE(names(trace) == std::vector<std::string>{"exp", "neg", "view", "neg"});
  CHECK(ops[1].inputs[0].tensor == ops[0].outputs[0].tensor);
  CHECK(ops[3].inputs[0].tensor == ops[2].outputs[0].tensor);
  CHECK(ops[3].inputs[0].tensor != ops[0].outputs[0].tensor);
}

TEST_CASE("tensors that no gradient flows to are a traced op's others") {
  const Tensor x = randn({4, 3}), target = from_vector<int64_t>({0, 1, 2, 0});
  OpTrace trace;
  cross_entropy(x, target, {.reduction = Reduction::kSum});
  index_select(x, 0, target);
  REQUIRE(trace.ops().size() == 2);
  CHECK(trace.ops()[0].others[0].first == "target");
  CHECK(trace.ops()[0].others[0].second.tensor == trace.ops()[1].others[0].second.tensor);
  CHECK_THAT(trace.text(), Contains("cross_entropy(%0: f32 [4, 3]; reduction sum, target %1: i64 [4])"));
}

TEST_CASE(
    "a trace lists what ops do without a node: custom functions, checkpoints, dropped indices, fusions") {
  const Tensor x = randn({1, 1, 4, 4}), weight = randn({2, 4}).set_requires_grad();
  OpTrace trace;
  apply(Twice{}, x);
  CHECK(names(trace) == std::vector<std::string>{"mul", "custom function"});
  CHECK(trace.ops()[0].within == "custom function");
  CHECK(trace.ops()[1].within.empty());
  checkpoint([](const Tensor& in) { return in + 1; }, weight);
  max_pool2d(x, {.kernel = 2});
  linear_fused(x, weight, {}, Activation::kGeluTanh);
  linear_fused(x, weight.detach(), {}, Activation::kGeluTanh);
  const std::vector<std::string> all = names(trace);
  CHECK(std::vector(all.begin() + 2, all.end()) ==
        std::vector<std::string>{"add", "checkpoint", "max_pool2d", "linear", "gelu_tanh", "linear"});
  for (size_t i = 3; i < all.size(); ++i) CHECK(trace.ops()[i].within.empty());
  CHECK_THROWS(matmul(x, randn({7, 7})));
  CHECK(trace.ops().size() == all.size());
}

TEST_CASE("a trace is its thread's, pauses for one inside it, and keeps no tensor alive") {
  const Tensor x = randn({2});
  std::weak_ptr<TensorImpl> result;
  OpTrace outer;
  {
    OpTrace inner;
    result = neg(x).impl();
    std::thread([&] { exp(x); }).join();
    CHECK(names(inner) == std::vector<std::string>{"neg"});
  }
  abs(x);
  CHECK(names(outer) == std::vector<std::string>{"abs"});
  CHECK(result.expired());
}

TEST_CASE("anomaly mode says the options of the call") {
  const AnomalyGuard anomaly;
  const Tensor x = zeros({1, 2, 4, 4}).set_requires_grad(), weight = full({2, 2, 1, 1}, NAN);
  const Tensor y = conv2d(x, weight, {}, {.stride = 2});
  CHECK_THROWS_WITH(
      y.sum().backward(),
      Contains("conv2d(f32 [1, 2, 4, 4], f32 [2, 2, 1, 1], none; stride 2) -> f32 [1, 2, 2, 2]"));
  CHECK_THAT(to_dot(y),
             Contains("conv2d(f32 [1, 2, 4, 4], f32 [2, 2, 1, 1], none; stride 2)\\n[1, 2, 2, 2]"));
}

TEST_CASE("options say themselves: numbers, lists, words; usual and false ones stay silent") {
  OptionList list;
  list.add("alpha", Scalar(2));
  list.add("value", Scalar(0.5));
  list.add("size", IntPair(3, 5));
  list.add("axes", Dims{0, 2});
  list.add("dtype", kFloat16);
  list.add("format", kChannelsLast);
  list.add("low", std::optional<Scalar>());
  list.add("keepdim", false);
  list.add("largest", true);
  std::vector<std::string> texts;
  for (const NamedOption& option : list.values) texts.push_back(to_text(option));
  CHECK(texts == std::vector<std::string>{"alpha 2", "value 0.5", "size [3, 5]", "axes [0, 2]", "dtype f16",
                                          "format channels_last", "", "largest"});
}
