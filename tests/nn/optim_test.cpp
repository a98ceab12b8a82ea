// Optimisers with groups and memory, clipping, averages: torch.optim's numbers, saving, resuming.

#include <limits>
#include <numeric>

#include "oracle.h"
#include "oracle_cases.h"
#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/loss.h"
#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/core/views.h"
#include "taper/nn/optim/adam.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/clip.h"
#include "taper/nn/optim/ema.h"
#include "taper/nn/optim/lamb.h"
#include "taper/nn/optim/lars.h"
#include "taper/nn/optim/schedule.h"
#include "taper/nn/optim/sgd.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "test_tensors.h"
#include "tolerance.h"

using namespace taper;
using Catch::Contains;

namespace {

using Tensors = std::vector<Tensor>;

/// Sets gradients as the oracle did in `step`; parameters without one get none.
void set_grads(const OracleCase& c, const Tensors& params, int step) {
  for (size_t i = 0; i < params.size(); ++i) {
    const Tensor grad = c[fmt::format("grad{}_{}", step, i)];
    params[i].set_grad(grad.defined() ? ops::clone(ops::to_device(grad, params[i].device())) : Tensor());
  }
}

/// The first three parameters in one group, the rest in another with options of their own.
template <class Optim, class Options>
Optim grouped(const Tensors& params, const Options& options) {
  NamedTensors body, head;
  for (size_t i = 0; i < params.size(); ++i)
    (i < 3 ? body : head).emplace_back(fmt::format("p{}", i), params[i]);
  Options other = options;
  other.lr = 0.01;
  other.weight_decay = 0;
  return Optim(std::vector<typename Optim::Group>{{body, options}, {head, other}});
}

std::unique_ptr<Optimizer> make_optimizer(const OracleCase& c, const Tensors& params) {
  if (c.op == "sgd") {
    const SgdOptions options{.lr = c.number("lr"),
                             .momentum = c.number("momentum"),
                             .weight_decay = c.number("weight_decay"),
                             .nesterov = c.flag("nesterov")};
    return std::unique_ptr<Optimizer>(new SGD(grouped<SGD>(params, options)));
  }
  if (c.op == "adam") {
    const AdamOptions options{.lr = c.number("lr"), .weight_decay = c.number("weight_decay")};
    return std::unique_ptr<Optimizer>(new Adam(grouped<Adam>(params, options)));
  }
  REQUIRE(c.op == "adamw");
  const AdamWOptions options{.lr = c.number("lr"), .weight_decay = c.number("weight_decay")};
  return std::unique_ptr<Optimizer>(new AdamW(grouped<AdamW>(params, options)));
}

Tensors leaves(const Tensors& tensors, Device device = kCPU) {
  Tensors result;
  for (const Tensor& x : tensors) {
    result.push_back(ops::clone(ops::to_device(x, device)).set_requires_grad());
  }
  return result;
}

}  // namespace

TEST_CASE("optimizers follow torch.optim with groups, late and missing gradients, and clipped norms",
          "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const OracleCase& c : oracle_cases("optim")) {
    if (c.op == "ema") continue;
    INFO(c.name << " " << device.str());
    const Tensors params = leaves(c.numbered("param"), device);
    REQUIRE(params.size() == 6);
    const auto optimizer = make_optimizer(c, params);
    for (int step = 0; step < 6; ++step) {
      set_grads(c, params, step);
      check_close(clip_grad_norm(params, 3.0), c[fmt::format("norm{}", step)], tolerance(kFloat64, 50));
      optimizer->step();
    }
    const Tensors expected = c.numbered("result");
    for (size_t i = 0; i < params.size(); ++i)
      check_close(params[i], expected[i], tolerance(kFloat64, 50), 1);
  }
}

TEST_CASE("an optimizer goes on where its saved state stopped, to the last bit", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const OracleCase& c : oracle_cases("optim")) {
    if (c.op == "ema") continue;
    INFO(c.name << " " << device.str());
    const Tensors params = leaves(c.numbered("param"), device);
    const auto optimizer = make_optimizer(c, params);
    for (int step = 0; step < 3; ++step) {
      set_grads(c, params, step);
      optimizer->step();
    }
    optimizer->lr(1) = 0.123;
    const Tensors resumed = leaves(params, device);
    const auto other = make_optimizer(c, resumed);
    other->load_state_dict(optimizer->state_dict());
    CHECK(other->lr(1) == 0.123);
    CHECK(other->initial_lr(1) == 0.01);
    for (int step = 3; step < 6; ++step) {
      set_grads(c, params, step);
      set_grads(c, resumed, step);
      optimizer->step();
      other->step();
    }
    for (size_t i = 0; i < params.size(); ++i) check_close(resumed[i], params[i], 0);
  }
}

namespace {

constexpr size_t kKinds = 5;

/// An optimiser of each kind, with memory.
std::vector<std::unique_ptr<Optimizer>> all_optimizers(const Tensors& params) {
  std::vector<std::unique_ptr<Optimizer>> result;
  result.push_back(std::make_unique<SGD>(params, SgdOptions{.lr = 0.1, .momentum = 0.9, .dampening = 0.5}));
  result.push_back(std::make_unique<AdamW>(params, AdamWOptions{.lr = 0.1}));
  result.push_back(std::make_unique<Adam>(params, AdamOptions{.lr = 0.1, .weight_decay = 0.1}));
  result.push_back(std::make_unique<Lamb>(params, LambOptions{.lr = 0.1}));
  result.push_back(std::make_unique<Lars>(
      params,
      LarsOptions{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.1, .nesterov = true, .trust_coeff = 0.5}));
  REQUIRE(result.size() == kKinds);
  return result;
}

Tensors some_parameters(Device device) {
  return leaves({random_tensor({3, 5}, kFloat32, 1), random_tensor({7}, kFloat64, 2),
                 random_tensor({40}, kBFloat16, 3)},
                device);
}

void set_random_grads(const Tensors& params, uint64_t seed) {
  for (const Tensor& x : params) {
    x.set_grad(ops::to_device(random_tensor(x.shape(), x.dtype(), seed++), x.device()));
  }
}

}  // namespace

TEST_CASE("on a GPU, steps with a changing learning rate make no host wait, replayed or not") {
  const Device gpu("cuda");
  const std::vector<double> rates = {0.1, 0.1, 0.03, 0.7, 0.01};
  const gpu::Stream stream = gpu::stream_from_pool();
  const gpu::StreamGuard guard(stream);
  for (size_t kind = 0; kind < kKinds; ++kind) {
    const Tensors on_cpu = some_parameters(kCPU), stepped = some_parameters(gpu),
                  replayed = some_parameters(gpu);
    const auto cpu = std::move(all_optimizers(on_cpu)[kind]);
    const auto eager = std::move(all_optimizers(stepped)[kind]);
    const auto captured = std::move(all_optimizers(replayed)[kind]);
    const auto run = [&](Optimizer& optimizer, const Tensors& params, size_t i, const auto& step) {
      optimizer.lr() = rates[i];
      set_random_grads(params, 10);
      step();
    };
    gpu::MemoryPool pool;
    set_random_grads(replayed, 10);  // the graph reads these
    gpu::Graph graph;
    for (size_t i = 0; i < rates.size(); ++i) {
      INFO("optimizer " << kind << ", step " << i);
      run(*cpu, on_cpu, i, [&] { cpu->step(); });
      run(*eager, stepped, i, [&] { eager->step(); });
      captured->lr() = rates[i];
      captured->publish_lr();
      if (i == 0) {
        captured->step();
      } else {
        if (i == 1) {
          // During a stream's capture, whatever waits for the stream is an error.
          const gpu::MemoryPoolGuard pool_guard(pool);
          stream.synchronize();
          gpu::begin_capture(stream);
          captured->step();
          graph = gpu::end_capture(stream);
        }
        graph.replay(stream);
      }
      for (size_t k = 0; k < on_cpu.size(); ++k) {
        check_close(stepped[k], on_cpu[k], tolerance(on_cpu[k].dtype(), 10), 1);
        check_close(replayed[k], stepped[k], 0);
      }
    }
    CHECK(captured->state_dict().numbers == eager->state_dict().numbers);
    CHECK(cpu->state_dict().numbers == eager->state_dict().numbers);
  }
}

TEST_CASE("every kind of optimizer goes on where its saved state stopped, to the last bit") {
  const Device device = GENERATE(from_range(test_devices()));
  for (size_t kind = 0; kind < kKinds; ++kind) {
    INFO("optimizer " << kind << " on " << device.str());
    const Tensors params = some_parameters(device);
    const auto optimizer = std::move(all_optimizers(params)[kind]);
    for (int step = 0; step < 3; ++step) {
      set_random_grads(params, uint64_t(step));
      optimizer->step();
    }
    const Tensors resumed = leaves(params, device);
    const auto other = std::move(all_optimizers(resumed)[kind]);
    other->load_state_dict(optimizer->state_dict());
    for (int step = 3; step < 6; ++step) {
      set_random_grads(params, uint64_t(step));
      set_random_grads(resumed, uint64_t(step));
      optimizer->step();
      other->step();
    }
    for (size_t i = 0; i < params.size(); ++i) check_close(resumed[i], params[i], 0);
  }
}

TEST_CASE("a step that is skipped changes nothing and does not count") {
  const Device device = GENERATE(from_range(test_devices()));
  const auto flag = [&](double value) { return ops::full({1}, value, {.device = device}); };
  for (size_t kind = 0; kind < kKinds; ++kind) {
    const Tensors params = some_parameters(device), others = some_parameters(device);
    const auto optimizer = std::move(all_optimizers(params)[kind]);
    const auto never_skips = std::move(all_optimizers(others)[kind]);
    for (int step = 0; step < 4; ++step) {
      const bool skip = step % 2 == 0;  // also the first
      const Tensors before = {ops::clone(params[0]), ops::clone(params[1]), ops::clone(params[2])};
      set_random_grads(params, uint64_t(step));
      optimizer->step(flag(skip ? 1 : 0));
      if (!skip) {
        set_random_grads(others, uint64_t(step));
        never_skips->step();
      }
      for (size_t k = 0; k < params.size(); ++k) check_close(params[k], skip ? before[k] : others[k], 0);
    }
    CHECK(optimizer->state_dict().numbers.at("step.0") == 2);
  }
  SGD optimizer(some_parameters(device));
  CHECK_THROWS_WITH(optimizer.step(ops::ones({2})),
                    Contains("SGD step: skip must be one number, got shape [2]"));
}

TEST_CASE("loading a state copies it, converted to the parameters' dtype and layout") {
  const Tensor a = random_tensor({2, 3, 4, 5}, kFloat32, 1).set_requires_grad();
  SGD first({{"w", a}}, {.lr = 0.1, .momentum = 0.9});
  a.set_grad(random_tensor({2, 3, 4, 5}, kFloat32, 2));
  first.step();
  const Tensor b =
      ops::contiguous(random_tensor({2, 3, 4, 5}, kFloat64, 1), kChannelsLast).set_requires_grad();
  SGD second({{"w", b}}, {.lr = 0.7, .momentum = 0.1});
  second.load_state_dict(first.state_dict());
  const Tensor buffer = second.state_dict().tensors.at("momentum_buffer.w");
  CHECK(buffer.dtype() == kFloat64);
  CHECK(buffer.is_contiguous(kChannelsLast));
  check_close(buffer, a.grad(), 0);
  CHECK(second.lr() == 0.1);
  a.set_grad(random_tensor({2, 3, 4, 5}, kFloat32, 3));
  first.step();
  check_close(buffer, random_tensor({2, 3, 4, 5}, kFloat32, 2), 0);  // no memory shared with `first`
}

TEST_CASE("every option of a group comes back from a saved state") {
  // The gradient of w^2 / 2, so that each step depends on all earlier ones.
  const auto step = [](Optimizer& optimizer, const Tensor& w) {
    w.set_grad(ops::clone(w));
    optimizer.step();
    return w.item();
  };
  const auto parameter = [] { return ops::ones({1}, {.dtype = kFloat64}).set_requires_grad(); };
  const std::vector<SgdOptions> sgds = {
      {.lr = 0.1, .momentum = 0.9, .nesterov = true},
      {.lr = 0.2, .momentum = 0.8, .dampening = 0.3, .weight_decay = 0.01},
  };
  for (const SgdOptions& options : sgds) {
    const Tensor a = parameter(), b = parameter();
    SGD first({{"w", a}}, options), second({{"w", b}}, {.lr = 0.7, .momentum = 0.5});
    step(first, a);
    ops::copy_(b, a);
    second.load_state_dict(first.state_dict());
    CHECK(second.options().nesterov == options.nesterov);
    CHECK(second.options().dampening == options.dampening);
    CHECK(second.options().weight_decay == options.weight_decay);
    CHECK(step(second, b) == step(first, a));
  }
  const auto check_one = [&]<class Optim>(const auto& options) {
    const Tensor a = parameter(), b = parameter();
    Optim first({{"w", a}}, options), second({{"w", b}});
    step(first, a);
    ops::copy_(b, a);
    second.load_state_dict(first.state_dict());
    CHECK(step(second, b) == step(first, a));
    CHECK(second.state_dict().numbers == first.state_dict().numbers);
  };
  check_one.operator()<AdamW>(
      AdamWOptions{.lr = 0.3, .beta1 = 0.7, .beta2 = 0.8, .eps = 0.1, .weight_decay = 0.2});
  check_one.operator()<Adam>(AdamOptions{.lr = 0.3,
                                         .beta1 = 0.7,
                                         .beta2 = 0.8,
                                         .eps = 0.1,
                                         .weight_decay = 0.2,
                                         .decoupled_weight_decay = true});
  check_one.operator()<Lamb>(LambOptions{
      .lr = 0.3, .beta1 = 0.7, .beta2 = 0.8, .eps = 0.1, .weight_decay = 0.2, .always_adapt = true});
  check_one.operator()<Lars>(LarsOptions{.lr = 0.3,
                                         .momentum = 0.7,
                                         .weight_decay = 0.2,
                                         .nesterov = true,
                                         .trust_coeff = 0.3,
                                         .eps = 0.1,
                                         .always_adapt = true});
  check_one.operator()<Lars>(LarsOptions{.momentum = 0.7, .dampening = 0.2});
}

TEST_CASE("a state that does not fit is refused and changes nothing") {
  const Tensor a = random_tensor({2, 3}, kFloat32).set_requires_grad();
  AdamW optimizer({{"w", a}}, {.lr = 0.1});
  a.set_grad(random_tensor({2, 3}, kFloat32, 2));
  optimizer.step();
  const SavedState good = optimizer.state_dict();
  const auto refused = [&](const char* message, const std::function<void(SavedState&)>& damage) {
    SavedState state = good;
    state.numbers["group0.lr"] = 55;
    damage(state);
    CHECK_THROWS_WITH(optimizer.load_state_dict(state), Contains(message));
    CHECK(optimizer.lr() == 0.1);
  };
  refused("no group0.eps", [](SavedState& s) { s.numbers.erase("group0.eps"); });
  refused("no group0.beta2", [](SavedState& s) { s.numbers.erase("group0.beta2"); });
  refused("more than 1 groups", [](SavedState& s) { s.numbers["group1.initial_lr"] = 1; });
  refused("no such parameter", [](SavedState& s) { s.tensors["exp_avg.other"] = ops::ones({1}); });
  refused("nothing this optimizer remembers",
          [](SavedState& s) { s.tensors["momentum_buffer.w"] = ops::ones({1}); });
  refused("is [3], the parameter [2, 3]", [](SavedState& s) { s.tensors["exp_avg_sq.w"] = ops::ones({3}); });
  refused("no exp_avg_sq.w", [](SavedState& s) { s.tensors.erase("exp_avg_sq.w"); });
  refused("no step.w", [](SavedState& s) { s.numbers.erase("step.w"); });
  optimizer.load_state_dict(good);
}

TEST_CASE("optimizers refuse parameters and options that make no sense") {
  const Tensor a = ops::ones({2}), b = ops::ones({2});
  CHECK_THROWS_WITH(SGD(NamedTensors{}), Contains("SGD: group 0 has no parameters"));
  CHECK_THROWS_WITH(SGD(std::vector<SGD::Group>{}), Contains("at least one parameter"));
  CHECK_THROWS_WITH(SGD({{"a", a}, {"a", b}}), Contains("two parameters are called a"));
  CHECK_THROWS_WITH(SGD({{"a", a}, {"b", a}}), Contains("parameter b is there under another name"));
  CHECK_THROWS_WITH(SGD({{"a", Tensor()}}), Contains("parameter a is undefined"));
  CHECK_THROWS_WITH(AdamW({{"a", ops::ones({2}, {.dtype = kInt64})}}),
                    Contains("AdamW: parameter a must be floating"));
  const Tensor leaf = ops::ones({2}).set_requires_grad(), result = mul(leaf, 2), row = leaf[0];
  CHECK_THROWS_WITH(SGD(Tensors{result}), Contains("SGD: parameter 0 is the result of mul"));
  CHECK_THROWS_WITH(AdamW({{"w", leaf}, {"row", row}}), Contains("AdamW: parameter row is the result of"));
  CHECK_NOTHROW(SGD(Tensors{result.detach(), leaf}));
  CHECK_THROWS_WITH(SGD(Tensors{a}, {.lr = -1}), Contains("SGD: lr (-1)"));
  CHECK_THROWS_WITH(SGD(Tensors{a}, {.nesterov = true}), Contains("nesterov needs momentum"));
  CHECK_THROWS_WITH(SGD(Tensors{a}, {.momentum = 0.9, .dampening = 0.1, .nesterov = true}),
                    Contains("no dampening"));
  CHECK_THROWS_WITH(AdamW(Tensors{a}, {.beta2 = 1}), Contains("from 0 to below 1, got 1"));
  CHECK_THROWS_WITH(Adam(Tensors{a}, {.beta1 = -0.1}), Contains("Adam: beta1 and beta2 must be from 0"));
  CHECK_THROWS_WITH(Adam(Tensors{a}, {.weight_decay = -1}), Contains("weight_decay (-1)"));
  CHECK_THROWS_WITH(Lamb(Tensors{a}, {.eps = -1}), Contains("Lamb: lr (0.001), eps (-1)"));
  CHECK_THROWS_WITH(Lamb(Tensors{a}, {.beta1 = 1}), Contains("from 0 to below 1, got 1"));
  CHECK_THROWS_WITH(Lars(Tensors{a}, {.trust_coeff = -1}), Contains("Lars: trust_coeff (-1)"));
  CHECK_THROWS_WITH(Lars(Tensors{a}, {.nesterov = true}), Contains("Lars: nesterov needs momentum"));
}

TEST_CASE("Adam with decoupled weight decay is AdamW, without weight decay, too") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const double decay : {0.0, 0.2}) {
    for (const bool decoupled : {false, true}) {
      const Tensors a = some_parameters(device), b = some_parameters(device);
      Adam adam(a, {.lr = 0.1, .weight_decay = decay, .decoupled_weight_decay = decoupled});
      AdamW adamw(b, {.lr = 0.1, .weight_decay = decay});
      for (uint64_t step = 0; step < 3; ++step) {
        set_random_grads(a, step);
        set_random_grads(b, step);
        adam.step();
        adamw.step();
      }
      const bool equal = ops::to_vector<double>(a[0]) == ops::to_vector<double>(b[0]);
      CHECK(equal == (decoupled || decay == 0));
    }
  }
}

TEST_CASE("zero_grad drops gradients or fills them with zeros") {
  const Tensor a = ops::ones({2}).set_requires_grad();
  SGD optimizer(Tensors{a});
  a.set_grad(ops::ones({2}));
  const Tensor grad = a.grad();
  optimizer.zero_grad(false);
  CHECK(a.grad().is_same(grad));
  check_close(grad, ops::zeros({2}), 0);
  optimizer.zero_grad();
  CHECK(!a.grad().defined());
}

TEST_CASE("optimizers find the bottom of a bowl") {
  const Tensor target = random_tensor({4, 3}, kFloat64, 9);
  const auto descend = [&](const std::function<std::unique_ptr<Optimizer>(const Tensors&)>& make) {
    const Tensor x = ops::zeros({4, 3}, {.dtype = kFloat64}).set_requires_grad();
    const auto optimizer = make({x});
    CosineAnnealingLr schedule(*optimizer, 300);
    for (int i = 0; i < 300; ++i) {
      optimizer->zero_grad();
      mse_loss(x, target, Reduction::kSum).backward();
      optimizer->step();
      schedule.step();
    }
    check_close(x.detach(), target, 1e-3);
  };
  descend([](const Tensors& x) { return std::make_unique<SGD>(x, SgdOptions{.lr = 0.05, .momentum = 0.8}); });
  descend([](const Tensors& x) {
    return std::make_unique<AdamW>(x, AdamWOptions{.lr = 0.1, .weight_decay = 0});
  });
  descend([](const Tensors& x) { return std::make_unique<Adam>(x, AdamOptions{.lr = 0.1}); });
  descend([](const Tensors& x) {
    return std::make_unique<Lamb>(x, LambOptions{.lr = 0.1, .weight_decay = 0, .always_adapt = true});
  });
  descend([](const Tensors& x) {
    return std::make_unique<Lars>(
        x, LarsOptions{.lr = 0.1, .momentum = 0.8, .trust_coeff = 1, .always_adapt = true});
  });
}

TEST_CASE("clip_grad_norm leaves small gradients alone and ignores parameters without one") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor a = ops::zeros({2}, {.device = device}).set_requires_grad();
  const Tensor b = ops::zeros({3}, {.device = device}).set_requires_grad();
  a.set_grad(ops::to_device(from_vector<float>({3, 4}), device));
  CHECK(clip_grad_norm({a, b}, 10).item() == Approx(5));
  check_close(a.grad(), from_vector<float>({3, 4}), 0);
  CHECK(clip_grad_norm({a, b}, 1).item() == Approx(5));
  check_close(a.grad(), from_vector<float>({0.6f, 0.8f}));
  CHECK(clip_grad_norm({b}, 1).item() == 0);
  CHECK_THROWS_WITH(clip_grad_norm({a}, -1), Contains("max_norm"));
}

TEST_CASE("clip_grad_value limits each element") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor a = ops::zeros({4}, {.device = device}).set_requires_grad();
  a.set_grad(ops::to_device(from_vector<float>({-3, -0.5, 0.25, 7}), device));
  clip_grad_value({a}, 0.5);
  check_close(a.grad(), from_vector<float>({-0.5, -0.5, 0.25, 0.5}), 0);
  CHECK_THROWS_WITH(clip_grad_value({a}, -1), Contains("limit"));
}

TEST_CASE("Ema follows AveragedModel, copies integers, and swaps for evaluation", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const OracleCase& c : oracle_cases("optim")) {
    if (c.op != "ema") continue;
    const Tensor weight = ops::zeros({3, 4}, {.device = device});
    const Tensor count = ops::zeros({}, {.dtype = kInt64, .device = device});
    Ema ema({{"weight", weight}, {"count", count}}, c.number("decay"));
    for (const Tensor& value : c.numbered("value")) {
      ops::copy_(weight, value);
      ops::add_(count, 1);
      ema.update();
    }
    check_close(ema.state_dict().tensors.at("weight"), c["y"]);
    CHECK(ops::item(ema.state_dict().tensors.at("count")) == 4);
  }
}

TEST_CASE("EmaScope lends the model its averages; a saved average goes on") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor weight = ops::full({2}, 1.0, {.device = device});
  Ema ema({{"weight", weight}}, 0.5);
  ema.update();
  ops::fill_(weight, 3);
  ema.update();
  {
    const EmaScope scope(ema);
    check_close(weight, ops::full({2}, 2.0), 0);
  }
  check_close(weight, ops::full({2}, 3.0), 0);
  const Tensor same = ops::full({2}, 3.0, {.device = device});
  Ema other({{"weight", same}}, 0.5);
  other.load_state_dict(ema.state_dict());
  CHECK(other.updates() == 2);
  other.update();
  check_close(other.state_dict().tensors.at("weight"), ops::full({2}, 2.5), 0);
  CHECK_THROWS_WITH(other.load_state_dict({}), Contains("no updates"));
  CHECK_THROWS_WITH(other.load_state_dict({{}, {{"updates", 1}}}), Contains("no weight"));
  CHECK_THROWS_WITH(other.load_state_dict({{{"weight", ops::ones({3})}}, {{"updates", 1}}}),
                    Contains("is [3]"));
  CHECK_THROWS_WITH(Ema({{"weight", weight}}, 2), Contains("between 0 and 1"));
}
