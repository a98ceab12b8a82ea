// What the tape must keep apart: the histories of tensors that share memory, the gradients of different
// leaves, hooks that register hooks; and what it must refuse: gradients that do not fit their tensor.

#include <catch2/catch.hpp>
#include <functional>

#include "taper/autograd/functions.h"
#include "taper/autograd/gradcheck.h"
#include "taper/autograd/tape/checkpoint.h"
#include "taper/autograd/tape/engine.h"
#include "taper/autograd/tape/function.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/core/base/allocator.h"
#include "taper/nn/optim/clip.h"
#include "test_tensors.h"
#include "warnings.h"

using namespace taper;
using Catch::Matchers::Contains;

namespace {

using Numbers = std::vector<double>;

Tensor parameter(const std::vector<float>& values, Device device = {}) {
  return from_vector(values).to(device).set_requires_grad();
}
Numbers numbers(const Tensor& x) {
  return to_vector<double>(x.to(kFloat64));
}

/// Returns its input, with three times the gradient.
struct Reverse {
  Tensor forward(SaveForBackward&, const Tensor& x) const { return x; }
  Grads backward(const Backward& bw) const { return {bw.grad() * 3}; }
};

/// Returns a view of its input, with three times the gradient.
struct FlatView {
  Tensor forward(SaveForBackward&, const Tensor& x) const { return x.view({-1}); }
  Grads backward(const Backward& bw) const { return {bw.grad().view({2, 2}) * 3}; }
};

/// Returns a captured tensor.
struct Captured {
  Tensor captured;
  Tensor forward(SaveForBackward&, const Tensor&) const { return captured; }
  Grads backward(const Backward& bw) const { return {bw.grad() * 3}; }
};

/// backward() is the given one.
template <class F>
struct Identity {
  F formula;
  Tensor forward(SaveForBackward& save, const Tensor& x) const {
    save({x});
    return x * 1;
  }
  Grads backward(const Backward& bw) const { return formula(bw); }
};
template <class F>
Tensor with_formula(const Tensor& x, F formula) {
  return apply(Identity<F>{formula}, x);
}

}  // namespace

// ---- Histories ----

TEST_CASE("a custom function that returns its input leaves the input's history alone") {
  const Tensor x = parameter({1, 2}), h = x * 2, y = apply(Reverse{}, h);
  CHECK(h.grad_fn()->name() == "mul");
  (y + h).sum().backward();
  CHECK(numbers(x.grad()) == Numbers{8, 8});  // 6 through y, 2 through h
}

TEST_CASE("a custom function or segment that returns an undefined tensor is named") {
  struct Nothing {
    std::vector<Tensor> forward(SaveForBackward& /*save*/, const Tensor& x) const {
      return {x * 2, Tensor()};
    }
    Grads backward(const Backward& bw) const { return {bw.grad()}; }
  };
  const Tensor x = GENERATE(false, true) ? parameter({1, 2}) : zeros({2});
  CHECK_THROWS_WITH(apply(Nothing{}, x), "custom function: output 1 is an undefined tensor");
  CHECK_THROWS_WITH(checkpoint([](const Tensor&) { return Tensor(); }, x),
                    "checkpoint: output 0 is an undefined tensor");
}

TEST_CASE("a custom function that returns its input can be differentiated twice") {
  struct Square {
    Tensor forward(SaveForBackward& save, const Tensor& x) const {
      save({x});
      return x;
    }
    Grads backward(const Backward& bw) const { return {bw.grad() * bw.saved(0) * bw.saved(0)}; }
  };
  const Tensor x = parameter({3});
  const Tensor first = grad({apply(Square{}, x)}, {x}, {}, {.create_graph = true})[0];
  CHECK(first.item() == 9);
  CHECK(grad({first}, {x})[0].item() == 6);
}

TEST_CASE("a custom function that returns a parameter leaves it a leaf, and leaks nothing") {
  const int64_t before = allocator_for(Device()).stats().allocated_bytes;
  {
    const Tensor w = parameter(std::vector<float>(1000, 1));
    for (int step = 0; step < 3; ++step) {
      w.set_grad({});
      apply(Reverse{}, w).sum().backward();
      CHECK(w.grad().data<float>()[0] == 3);
    }
    CHECK(w.is_leaf());
  }
  CHECK(allocator_for(Device()).stats().allocated_bytes == before);
}

TEST_CASE("a custom function that returns a captured tensor leaves it as it is") {
  const Tensor x = parameter({1, 2});
  const Tensor captured = GENERATE(true, false) ? parameter({5, 6}) : from_vector<float>({5, 6});
  const bool wants = captured.requires_grad();
  for (int step = 0; step < 2; ++step) {
    const Tensor y = apply(Captured{captured}, x);
    CHECK(y.requires_grad());
    x.set_grad({});
    y.sum().backward();
    CHECK(numbers(x.grad()) == Numbers{3, 3});
    CHECK_FALSE(captured.grad().defined());
  }
  CHECK(captured.is_leaf());
  CHECK(captured.requires_grad() == wants);
}

TEST_CASE("a custom function may return one tensor twice") {
  struct Twice {
    std::vector<Tensor> forward(SaveForBackward&, const Tensor& x) const {
      const Tensor y = x * 1;
      return {y, y};
    }
    Grads backward(const Backward& bw) const { return {bw.grad(0) * 2 + bw.grad(1) * 10}; }
  };
  const Tensor x = parameter({1, 2});
  const auto outputs = apply(Twice{}, x);
  (outputs[0] + outputs[1]).sum().backward();
  CHECK(numbers(x.grad()) == Numbers{12, 12});
  CHECK_THROWS_WITH(outputs[0].mul_(2), Contains("custom function") && Contains("clone()"));
}

TEST_CASE("the result of a custom function that is not recorded is a tensor of its own, too") {
  const Tensor x = from_vector<float>({1, 2});
  Tensor y = apply(Reverse{}, x);
  CHECK_FALSE(y.is_same(x));
  y.set_requires_grad();
  CHECK_FALSE(x.requires_grad());
}

TEST_CASE("a view that a custom function returned cannot be written to, nor read after its base was") {
  const Tensor x = ones({2, 2}).set_requires_grad(), h = x * 1, y = apply(FlatView{}, h);
  SECTION("read") {
    y.sum().backward();
    CHECK(numbers(x.grad()) == Numbers(4, 3.0));
  }
  SECTION("the view is written to") {
    CHECK_THROWS_WITH(y.mul_(2), Contains("mul_") && Contains("custom function") && Contains("clone()"));
  }
  SECTION("a view of it is written to") {
    CHECK_THROWS_WITH(y.slice(0, 0, 2).mul_(2), Contains("custom function"));
  }
  SECTION("the base is written to") {
    h.mul_(2);
    CHECK(y.requires_grad());
    CHECK_THROWS_WITH(y.sum(), Contains("custom function") && Contains("in place") && Contains("clone()"));
  }
  SECTION("another view of the base is written to") {
    h[0].mul_(2);
    CHECK_THROWS_WITH(y.sum(), Contains("custom function"));
  }
  SECTION("an input returned as it was is written to") {
    const Tensor same = apply(Reverse{}, h);
    CHECK_THROWS_WITH(same.mul_(2), Contains("custom function"));
  }
  SECTION("a clone is written to") {
    const Tensor own = y.clone();
    own.mul_(2);
    own.sum().backward();
    CHECK(numbers(x.grad()) == Numbers(4, 6.0));
  }
  SECTION("an input detached inside is written to") {
    struct Detached {
      Tensor forward(SaveForBackward&, const Tensor& t) const { return t.detach(); }
      Grads backward(const Backward& bw) const { return {bw.grad()}; }
    };
    CHECK_THROWS_WITH(apply(Detached{}, h).mul_(2), Contains("custom function"));
  }
}

TEST_CASE("a new tensor from a custom function can be written to, saved or not") {
  const Tensor x = parameter({1, 2});
  struct Double {
    bool saves;
    Tensor forward(SaveForBackward& save, const Tensor& t) const {
      Tensor y = t * 2;
      if (saves) save({y});
      return y;
    }
    Grads backward(const Backward& bw) const { return {bw.grad() * 2}; }
  };
  const Tensor y = apply(Double{GENERATE(true, false)}, x);
  y.mul_(5);
  y.sum().backward();
  CHECK(numbers(x.grad()) == Numbers{10, 10});
}

TEST_CASE("a view made under no_grad is a constant that cannot be written to while recording") {
  const Tensor x = parameter({1, 2}), b = x * 1;
  Tensor v;
  {
    const NoGradGuard no_grad;
    v = b.view({2, 1});
  }
  SECTION("written") {
    CHECK_THROWS_WITH(v.mul_(3), Contains("mul_") && Contains("under no_grad") && Contains("both outside"));
  }
  SECTION("a view of it is written") {
    CHECK_THROWS_WITH(v.view({2}).mul_(3), Contains("under no_grad"));
  }
  SECTION("filled from a recorded tensor, with a base that is not recorded") {
    const Tensor plain = zeros({2});
    Tensor part;
    {
      const NoGradGuard no_grad;
      part = plain.slice(0, 0, 1);
    }
    part.fill_(7);  // nothing to record
    CHECK(numbers(plain) == Numbers{7, 0});
    CHECK_THROWS_WITH(part.copy_(x.slice(0, 0, 1)), Contains("under no_grad"));
  }
  SECTION("written under no_grad") {
    const NoGradGuard no_grad;
    v.mul_(3);
    CHECK(numbers(b) == Numbers{3, 6});
  }
  SECTION("its base written while recording") {
    b.mul_(3);
    CHECK_FALSE(v.requires_grad());
    CHECK_FALSE((v * 2).requires_grad());
    b.sum().backward();
    CHECK(numbers(x.grad()) == Numbers{3, 3});
  }
}

TEST_CASE("a write that is not recorded leaves the histories of views alone") {
  const Tensor x = parameter({1, 2}), v = x.view({2, 1});
  const auto node = v.grad_fn();
  {
    const NoGradGuard no_grad;
    x.mul_(2);
  }
  CHECK(v.grad_fn() == node);
}

TEST_CASE("copying into an integer tensor gives it no history") {
  const Tensor w = parameter({1, 2});
  const Tensor whole = zeros({2}, {.dtype = kInt64});
  whole.copy_(w);
  CHECK_FALSE(whole.requires_grad());
  const Tensor part = zeros({2, 2}, {.dtype = kInt32});
  part[1].copy_(w);
  CHECK_FALSE(part.requires_grad());
  CHECK(numbers(part) == Numbers{0, 0, 1, 2});
}

// ---- Gradients ----

TEST_CASE("backward with create_graph: gradients share memory with nobody") {
  Warnings warnings;
  const Tensor a = parameter({1, 1}), b = parameter({1, 1}), seed = ones({2});
  (a + b).backward(seed, false, true);
  {
    const NoGradGuard no_grad;
    a.grad().mul_(5);
  }
  CHECK(numbers(a.grad()) == Numbers{5, 5});
  CHECK(numbers(b.grad()) == Numbers{1, 1});
  CHECK(numbers(seed) == Numbers{1, 1});
  for (const Tensor& x : {a, b}) x.set_grad({});
  (a + b).sum().backward({}, false, true);
  CHECK(clip_grad_norm({a, b}, 1).item() == 2);
  CHECK(numbers(a.grad())[0] == Approx(0.5).epsilon(1e-5));
  for (const Tensor& x : {a, b}) x.set_grad({});
}

TEST_CASE("a retained gradient shares memory with nobody") {
  const Tensor x = parameter({1, 1}), y = x + 0, z = y + 0;
  for (const Tensor& t : {y, z}) t.retain_grad();
  z.sum().backward();
  y.grad().mul_(5);
  CHECK(numbers(z.grad()) == Numbers{1, 1});
  CHECK(numbers(x.grad()) == Numbers{1, 1});
}

TEST_CASE("backward with create_graph warns of the cycle, once") {
  Warnings warnings;
  const Tensor x = parameter({3});
  for (int i = 0; i < 2; ++i) (x * x).backward({}, false, true);
  x.set_grad({});
  REQUIRE(warnings.texts.size() == 1);
  CHECK_THAT(warnings.texts[0], Contains("create_graph") && Contains("cycle") && Contains("grad()"));
}

TEST_CASE("retain_grad gives the gradient of the tensor as it now is") {
  const Tensor x = parameter({1, 2}), y = x * 2;
  y.retain_grad();
  y.mul_(3);
  const bool asked_again = GENERATE(true, false);
  if (asked_again) y.retain_grad();
  (y * 1).sum().backward();
  CHECK(numbers(y.grad()) == Numbers{1, 1});
}

TEST_CASE("retain_grad follows a write through a view") {
  const Tensor x = parameter({1, 2}), y = x * 2;
  y.retain_grad();
  y.slice(0, 0, 1).mul_(3);
  y.sum().backward();
  CHECK(numbers(y.grad()) == Numbers{1, 1});
  CHECK(numbers(x.grad()) == Numbers{6, 2});
}

TEST_CASE("retain_grad adds up over passes and sees what hooks have made of the gradient") {
  const Tensor x = parameter({1, 2}), y = x * 2;
  y.retain_grad();
  register_hook(y, [](const Tensor& g) { return g * 10; });
  const Tensor loss = y.sum();
  backward({loss}, {}, {.retain_graph = true});
  loss.backward();
  CHECK(numbers(y.grad()) == Numbers{20, 20});
}

TEST_CASE("set_grad takes only what backward would have left") {
  const Tensor x = parameter({1, 2});
  CHECK_THROWS_WITH(x.set_grad(ones({2}, {.dtype = kFloat64})), Contains("f64") && Contains("f32"));
  CHECK_THROWS_WITH(x.set_grad(ones({3})), Contains("[3]") && Contains("[2]"));
  if (gpu::device_count() == 0) return;
  CHECK_THROWS_WITH(x.set_grad(ones({2}, {.device = Device("cuda")})), Contains("cuda:0"));
}

TEST_CASE("seeds, formulas and hooks are refused a gradient on another device") {
  if (gpu::device_count() == 0) return;
  const Tensor x = parameter({1, 2}, Device("cuda"));
  const auto to_cpu = [](const Tensor& g) { return g.cpu(); };
  const auto refused = [](const std::function<void()>& pass, const char* who) {
    CHECK_THROWS_WITH(pass(), Contains(who) && Contains("cpu") && Contains("cuda:0") && Contains("to()"));
  };
  SECTION("seed") {
    refused([&] { (x * 2).backward(ones({2})); }, "backward");
  }
  SECTION("seed of a leaf") {
    refused([&] { x.backward(ones({2})); }, "backward");
  }
  SECTION("seed of grad()") {
    refused([&] { grad({x * 2}, {x}, {ones({2})}); }, "the caller");
  }
  SECTION("formula") {
    const Tensor y = with_formula(x, [](const Backward& bw) -> Grads { return {bw.grad().cpu()}; });
    refused([&] { y.sum().backward(); }, "custom function");
  }
  SECTION("leaf hook") {
    register_hook(x, to_cpu);
    refused([&] { x.sum().backward(); }, "hook");
  }
  SECTION("hook") {
    const Tensor y = x * 2;
    register_hook(y, to_cpu);
    refused([&] { y.sum().backward(); }, "hook on mul");
  }
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("hooks are refused a gradient of another shape or an integer one, and f64 ones are converted") {
  const Tensor leaf = parameter({1, 2}), inner = leaf * 1;
  const Tensor& x = GENERATE(true, false) ? leaf : inner;
  const Tensor loss = (x * 4).sum();
  SECTION("shape") {
    register_hook(x, [](const Tensor& g) { return g.sum(); });
    CHECK_THROWS_WITH(loss.backward(), Contains("hook") && Contains("[]") && Contains("[2]"));
  }
  SECTION("integer") {
    register_hook(x, [](const Tensor& g) { return g.to(kInt64); });
    CHECK_THROWS_WITH(loss.backward(), Contains("hook") && Contains("i64") && Contains("f32"));
  }
  SECTION("f64") {
    register_hook(x, [](const Tensor& g) { return g.to(kFloat64) * 2; });
    loss.backward();
    CHECK(leaf.grad().dtype() == kFloat32);
    CHECK(numbers(leaf.grad()) == Numbers{8, 8});
  }
}

TEST_CASE("a formula returns one gradient for each input, no more and no fewer") {
  struct Sum {
    size_t count;
    Tensor forward(SaveForBackward&, const Tensor& a, const Tensor& b) const { return a + b; }
    Grads backward(const Backward& bw) const { return Grads(count, bw.grad()); }
  };
  const Tensor a = parameter({1, 2}), b = parameter({1, 2});
  for (const size_t count : {0, 1, 3}) {
    CHECK_THROWS_WITH(
        apply(Sum{count}, a, b).sum().backward(),
        Contains("custom function") && Contains(fmt::format("{} gradients", count)) && Contains("2 inputs"));
  }
  apply(Sum{2}, a, b).sum().backward();
  CHECK(numbers(b.grad()) == Numbers{1, 1});
}

TEST_CASE("a formula that asks for what its operation does not have gets an Error") {
  const Tensor x = parameter({1, 2});
  const auto fails = [&x](auto formula, const char* part) {
    CHECK_THROWS_WITH(with_formula(x, formula).sum().backward(),
                      Contains("custom function") && Contains(part));
  };
  fails([](const Backward& bw) -> Grads { return {bw.grad(1)}; }, "output 1");
  fails([](const Backward& bw) -> Grads { return {bw.grad(-1)}; }, "output -1");
  fails([](const Backward& bw) -> Grads { return {bw.has_grad(1) ? bw.grad() : Tensor()}; }, "output 1");
  fails([](const Backward& bw) -> Grads { return {bw.saved(1)}; }, "saved tensor 1");
  fails([](const Backward& bw) -> Grads { return {bw.needs(1) ? bw.grad() : Tensor()}; }, "input 1");
}

// ---- Hooks ----

TEST_CASE("hooks may register hooks on their own tensor, which run from the next pass on") {
  const Tensor x = parameter({1, 2}), y = x * 1;
  int first = 0, later = 0;
  const auto grow = [&](const Tensor& on) {
    register_hook(on, [&first, &later, on = &on](const Tensor&) -> Tensor {  // holding it would be a cycle
      ++first;
      for (int i = 0; i < 50; ++i) {
        register_hook(*on, [&later](const Tensor&) {
          ++later;
          return Tensor();
        });
      }
      return {};
    });
  };
  SECTION("leaf") {
    grow(x);
  }
  SECTION("not a leaf") {
    grow(y);
  }
  SECTION("after accumulation") {
    register_post_accumulate_hook(x, [&](const Tensor& t) {
      ++first;
      for (int i = 0; i < 50; ++i) register_post_accumulate_hook(t, [&later](const Tensor&) { ++later; });
    });
  }
  SECTION("node") {
    y.grad_fn()->register_hook([&, node = y.grad_fn().get()](const Grads&, const Grads&) {
      ++first;
      for (int i = 0; i < 50; ++i) {
        node->register_hook([&later](const Grads&, const Grads&) { ++later; });
      }
    });
  }
  const Tensor loss = y.sum();
  backward({loss}, {}, {.retain_graph = true});
  CHECK(first == 1);
  CHECK(later == 0);
  backward({loss}, {}, {.retain_graph = true});
  CHECK(first == 2);
  CHECK(later == 50);
  CHECK(numbers(x.grad()) == Numbers{2, 2});
}

TEST_CASE("hooks on a leaf run under grad(), too") {
  const Tensor x = parameter({1, 2}), y = x * 1;
  register_hook(x, [](const Tensor& g) { return g * 10; });
  CHECK(numbers(grad({(y * 2).sum()}, {x})[0]) == Numbers{20, 20});
  CHECK(numbers(grad({(y * 2).sum()}, {y})[0]) == Numbers{2, 2});
  (y * 2).sum().backward();
  CHECK(numbers(x.grad()) == Numbers{20, 20});
}

// ---- On a GPU ----

TEST_CASE("gradcheck and gradgradcheck work where their inputs are") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = random_tensor({2, 3}).to(device).set_requires_grad();
  const auto cube = [](const std::vector<Tensor>& in) { return in[0] * in[0] * in[0]; };
  CHECK(gradcheck(cube, {x}));
  CHECK(gradgradcheck(cube, {x}));
}

TEST_CASE("every kind of node on a GPU knows the stream it was recorded on") {
  if (gpu::device_count() == 0) return;
  const Tensor x = parameter({1, 2, 3, 4}, Device("cuda")), base = x * 1;
  const Tensor written = base.slice(0, 0, 2), other = base.slice(0, 1, 3);
  written.mul_(2);
  CHECK(base.grad_fn()->stream().has_value());   // the base with a part replaced
  CHECK(other.grad_fn()->stream().has_value());  // a view of it, made anew
}
