// The tape and its engine: accumulation, freeing, modes, in-place rules, views, hooks, higher derivatives.

#include <catch2/catch.hpp>
#include <thread>

#include "taper/autograd/functions.h"
#include "taper/autograd/gradcheck.h"
#include "taper/autograd/tape/checkpoint.h"
#include "taper/autograd/tape/engine.h"
#include "taper/autograd/tape/function.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/autograd/tape/graph_drawing.h"
#include "taper/core/base/allocator.h"

using namespace taper;
using Catch::Matchers::Contains;

namespace {

Tensor leaf(std::vector<double> values, const Shape& shape) {
  return from_vector(values, shape).set_requires_grad();
}
Tensor leaf(std::vector<double> values) {
  return leaf(values, {int64_t(values.size())});
}
std::vector<double> numbers(const Tensor& x) {
  return to_vector<double>(x);
}
using Numbers = std::vector<double>;

int64_t live_bytes() {
  return allocator_for(Device()).stats().allocated_bytes;
}

}  // namespace

TEST_CASE("backward adds into the grad of leaves") {
  const Tensor x = leaf({1, 2, 3});
  (x * x).sum().backward();
  CHECK(numbers(x.grad()) == Numbers{2, 4, 6});
  (x * x).sum().backward();
  CHECK(numbers(x.grad()) == Numbers{4, 8, 12});
}

TEST_CASE("a tensor used several times gets the sum of its gradients") {
  const Tensor x = leaf({2});
  const Tensor y = x * x;
  (y * y + y + x).sum().backward();  // x^4 + x^2 + x
  CHECK(numbers(x.grad()) == Numbers{4 * 8 + 4 + 1});
}

TEST_CASE("backward refuses what has no gradient and names the way out") {
  const Tensor x = leaf({1, 2});
  CHECK_THROWS_WITH((x * 2).backward(), Contains("[2]") && Contains("sum()"));
  CHECK_THROWS_WITH(zeros({1}).backward(), Contains("does not require a gradient"));
  CHECK_THROWS_WITH((x * 2).backward(ones({3}, {.dtype = kFloat64})), Contains("[3]") && Contains("[2]"));
  CHECK_THROWS_WITH(Tensor().backward(), Contains("undefined"));
}

TEST_CASE("saved tensors are freed by backward unless retain_graph") {
  const Tensor x = leaf({1, 2, 3});
  const Tensor y = x.exp().sum();
  backward({y}, {}, {.retain_graph = true});
  y.backward();
  CHECK(numbers(x.grad())[1] == Approx(2 * std::exp(2.0)));
  CHECK_THROWS_WITH(y.backward(), Contains("exp") && Contains("[3]") && Contains("retain_graph"));
}

TEST_CASE("memory of the graph is given back as backward goes, all of it in the end") {
  const int64_t before = live_bytes();
  {
    const Tensor x = zeros({1000}, {.dtype = kFloat64}).set_requires_grad();
    Tensor y = x;
    for (int i = 0; i < 50; ++i) y = y.exp();
    const Tensor loss = y.sum();
    y = Tensor();
    const int64_t with_graph = live_bytes();
    CHECK(with_graph - before > 50 * 8000);
    loss.backward();
    CHECK(live_bytes() - before < 5 * 8000);
  }
  CHECK(live_bytes() == before);
}

TEST_CASE("no cycle keeps a graph alive when an output is saved or a saved input is overwritten") {
  const int64_t before = live_bytes();
  {
    const Tensor w = leaf({1, 2});
    const Tensor y = w.exp();  // saves its own output
    const Tensor x = zeros({2}, {.dtype = kFloat64});
    const Tensor product = w * x;  // saves x ...
    x.add_(product);               // ... whose history now contains the saving node
  }
  CHECK(live_bytes() == before);
}

TEST_CASE("grad returns gradients without touching leaves") {
  const Tensor x = leaf({3});
  const Tensor y = x * x;
  const Tensor z = y * x;
  const auto grads = grad({z}, {x, y});
  CHECK(numbers(grads[0]) == Numbers{27});
  CHECK(numbers(grads[1]) == Numbers{3});
  CHECK_FALSE(x.grad().defined());
  const Tensor unused = leaf({1});
  CHECK_THROWS_WITH(grad({x * x}, {unused}), Contains("input 0") && Contains("allow_unused"));
  CHECK_FALSE(grad({x * x}, {unused}, {}, {.allow_unused = true})[0].defined());
}

TEST_CASE("grad of an output with respect to itself is its seed") {
  const Tensor x = leaf({3});
  const Tensor y = x * 2;
  CHECK(numbers(grad({y}, {y})[0]) == Numbers{1});
}

TEST_CASE("no_grad records nothing, enable_grad records again") {
  const Tensor x = leaf({1});
  {
    const NoGradGuard no_grad;
    CHECK_FALSE((x * 2).requires_grad());
    const EnableGradGuard recording;
    CHECK((x * 2).requires_grad());
  }
  CHECK((x * 2).requires_grad());
}

TEST_CASE("inference tensors cannot enter a recorded operation that saves them") {
  const Tensor x = leaf({1, 2});
  Tensor constant;
  {
    const InferenceModeGuard inference;
    constant = ones({2}, {.dtype = kFloat64});
    CHECK_FALSE((x * 2).requires_grad());
  }
  CHECK_THROWS_WITH(x * constant, Contains("inference_mode") && Contains("mul"));
  CHECK_NOTHROW(x * constant.clone());
  CHECK_THROWS_WITH(constant.set_requires_grad(), Contains("inference_mode"));
}

TEST_CASE("requires_grad is for floating-point leaves") {
  CHECK_THROWS_WITH(zeros({2}, {.dtype = kInt64}).set_requires_grad(), Contains("i64"));
  Tensor y = leaf({1}) * 2;
  CHECK_FALSE(y.is_leaf());
  CHECK_THROWS_WITH(y.set_requires_grad(false), Contains("mul"));
  const Tensor d = y.detach();
  CHECK(d.is_leaf());
  CHECK_FALSE(d.requires_grad());
  CHECK(d.data_ptr() == y.data_ptr());
}

TEST_CASE("a saved tensor that was overwritten is an error, not a wrong gradient") {
  const Tensor x = leaf({1, 2});
  const Tensor y = x * 1;
  const Tensor z = (y * y).sum();
  y.add_(1);
  CHECK_THROWS_WITH(z.backward(), Contains("mul") && Contains("modified in place") && Contains("clone()"));
}

TEST_CASE("leaves that require a gradient are protected from in-place writes") {
  const Tensor x = leaf({1, 2});
  CHECK_THROWS_WITH(x.add_(1), Contains("leaf") && Contains("no_grad"));
  CHECK_THROWS_WITH(x[0].fill_(1), Contains("leaf"));
  const NoGradGuard no_grad;
  x.add_(1);
  CHECK(numbers(x) == Numbers{2, 3});
}

TEST_CASE("in-place writes on intermediate results are recorded") {
  const Tensor x = leaf({1, 2});
  const Tensor y = x * 3;
  y.mul_(x);
  y.add_(x, 2);
  y.sum().backward();  // 3x^2 + 2x
  CHECK(numbers(x.grad()) == Numbers{8, 14});
}

TEST_CASE("an in-place write makes a plain tensor part of the graph") {
  const Tensor x = leaf({1, 2});
  const Tensor buffer = zeros({2}, {.dtype = kFloat64});
  buffer.copy_(x);
  CHECK(buffer.requires_grad());
  (buffer * buffer).sum().backward();
  CHECK(numbers(x.grad()) == Numbers{2, 4});
}

TEST_CASE("writing into a view changes the history of its base and of other views") {
  const Tensor x = leaf({1, 2, 3, 4});
  const Tensor w = leaf({10, 20});
  const Tensor base = x * 1;
  const Tensor head = base.slice(0, 0, 2);
  const Tensor other = base.slice(0, 1, 3);  // overlaps element 1
  head.copy_(w);
  CHECK(numbers(base) == Numbers{10, 20, 3, 4});
  SECTION("through the base") {
    (base * base).sum().backward();
    CHECK(numbers(x.grad()) == Numbers{0, 0, 6, 8});
    CHECK(numbers(w.grad()) == Numbers{20, 40});
  }
  SECTION("through the written view") {
    (head * head).sum().backward();
    CHECK(numbers(w.grad()) == Numbers{20, 40});
    CHECK(numbers(x.grad()) == Numbers{0, 0, 0, 0});
  }
  SECTION("through another view made before the write") {
    (other * other).sum().backward();
    CHECK(numbers(w.grad()) == Numbers{0, 40});
    CHECK(numbers(x.grad()) == Numbers{0, 0, 6, 0});
  }
}

TEST_CASE("a buffer filled row by row through views") {
  const Tensor x = leaf({1, 2, 3});
  const Tensor rows = zeros({3, 3}, {.dtype = kFloat64});
  for (int64_t i = 0; i < 3; ++i) rows[i].copy_(x * double(i));
  CHECK(rows.requires_grad());
  rows.transpose(0, 1).sum().backward();
  CHECK(numbers(x.grad()) == Numbers{3, 3, 3});
}

TEST_CASE("expanded views cannot be written to") {
  const Tensor x = leaf({1});
  const Tensor wide = (x * 1).expand({3});
  CHECK_THROWS_AS(wide.add_(1), Error);
}

TEST_CASE("tensor hooks see and replace gradients") {
  const Tensor x = leaf({1, 2});
  const Tensor y = x * 2;
  std::vector<double> seen;
  register_hook(y, [&](const Tensor& g) {
    seen = numbers(g);
    return g * 10;
  });
  register_hook(x, [&](const Tensor& g) { return g + 1; });
  (y * 3).sum().backward();
  CHECK(seen == Numbers{3, 3});
  CHECK(numbers(x.grad()) == Numbers{61, 61});
}

TEST_CASE("node hooks see both sides, retain_grad keeps intermediates, post hooks run after accumulation") {
  const Tensor x = leaf({5});
  const Tensor y = x * x;
  y.retain_grad();
  double in = 0, out = 0;
  y.grad_fn()->register_hook([&](const Grads& inputs, const Grads& outputs) {
    in = inputs[0].item() + inputs[1].item();
    out = outputs[0].item();
  });
  double at_leaf = 0;
  register_post_accumulate_hook(x, [&](const Tensor& t) { at_leaf = t.grad().item(); });
  (y * 2).sum().backward();
  CHECK(y.grad().item() == 2);
  CHECK(out == 2);
  CHECK(in == 20);
  CHECK(at_leaf == 20);
}

TEST_CASE("create_graph gives derivatives of any order") {
  const Tensor x = leaf({2});
  Tensor g = x * x * x * x;
  for (const double expected : {32.0, 48.0, 48.0, 24.0}) {
    g = grad({g}, {x}, {}, {.create_graph = true})[0];
    CHECK(g.item() == Approx(expected));
  }
}

TEST_CASE("backward with create_graph leaves a differentiable grad") {
  const Tensor x = leaf({3});
  (x * x * x).sum().backward({}, false, true);
  const Tensor first = x.grad();
  CHECK(first.item() == 27);
  CHECK(grad({first}, {x})[0].item() == 18);
  x.set_grad({});  // grad -> graph -> x is a cycle until cleared
}

TEST_CASE("create_graph through a first-order formula is a clear error") {
  struct Opaque {
    Tensor forward(SaveForBackward&, const Tensor& x) const { return x * 2; }
    Grads backward(const Backward& bw) const { return {bw.grad() * 2}; }
  };
  const Tensor x = leaf({1});
  const Tensor y = checkpoint([](const Tensor& t) { return t * t; }, x);
  CHECK_THROWS_WITH(y.backward({}, false, true), Contains("checkpoint") && Contains("create_graph"));
  CHECK(grad({apply(Opaque{}, x)}, {x}, {}, {.create_graph = true})[0].item() == 2);
}

TEST_CASE("anomaly mode names the forward operation and its shapes") {
  const AnomalyGuard anomaly;
  const Tensor x = leaf({0, 1});
  const Tensor y = (x.sqrt() * 0).sum();  // 0 * inf
  CHECK_THROWS_WITH(y.backward(), Contains("sqrt(f64 [2])") && Contains("NaN"));
  const Tensor z = x.exp().sum();
  z.backward();
  CHECK_THROWS_WITH(z.backward(), Contains("exp(f64 [2])"));
}

TEST_CASE("a chain of 100,000 operations neither overflows the stack in backward nor in destruction") {
  const Tensor x = leaf({1});
  {
    Tensor y = x;
    for (int i = 0; i < 100000; ++i) y = y + 1;
    y.backward();
    CHECK(x.grad().item() == 1);
  }
  Tensor y = x;
  for (int i = 0; i < 100000; ++i) y = y * 1;
  y = Tensor();
}

TEST_CASE("separate graphs over shared parameters run backward from several threads") {
  const Tensor w = leaf({1, 2, 3});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&w] {
      for (int i = 0; i < 100; ++i) (w * w).sum().backward();
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(numbers(w.grad()) == Numbers{800, 1600, 2400});
}

TEST_CASE("checkpoint gives the same gradients and draws the same random numbers") {
  const Tensor w = leaf({1.5, -2, 0.5});
  const auto segment = [&](const Tensor& x) { return dropout((x * w).exp(), 0.5, true) * x; };
  const auto gradients = [&](bool checkpointed) {
    manual_seed(7);
    const Tensor x = leaf({0.1, 0.2, 0.3});
    w.set_grad({});
    const Tensor y = checkpointed ? checkpoint(segment, x) : segment(x);
    const Tensor after = dropout(y, 0.5, true);
    after.sum().backward();
    return std::pair(numbers(x.grad()), numbers(w.grad()));
  };
  CHECK(gradients(true) == gradients(false));
}

TEST_CASE("checkpoint keeps only the inputs") {
  const Tensor x = zeros({10000}, {.dtype = kFloat64}).set_requires_grad();
  const auto deep = [](const Tensor& t) {
    Tensor y = t;
    for (int i = 0; i < 20; ++i) y = y.exp();
    return y;
  };
  const int64_t before = live_bytes();
  const Tensor kept = deep(x);
  const int64_t all = live_bytes() - before;
  const Tensor y = checkpoint(deep, x);
  const int64_t checkpointed = live_bytes() - before - all;
  CHECK(checkpointed * 10 < all);
}

TEST_CASE("custom functions carry numbers in the object and tensors in the save") {
  struct Cube {
    double scale;
    Tensor forward(SaveForBackward& save, const Tensor& x) const {
      save({x});
      return x * x * x * scale;
    }
    Grads backward(const Backward& bw) const { return {bw.grad() * bw.saved(0) * bw.saved(0) * (3 * scale)}; }
  };
  const Tensor x = leaf({1, -2, 0.5});
  CHECK(gradcheck([](const std::vector<Tensor>& in) { return apply(Cube{2}, in[0]); }, {x}));
  CHECK(gradgradcheck([](const std::vector<Tensor>& in) { return apply(Cube{2}, in[0]); }, {x}));
}

TEST_CASE("gradcheck sees a wrong derivative") {
  struct Wrong {
    Tensor forward(SaveForBackward&, const Tensor& x) const { return x * x; }
    Grads backward(const Backward& bw) const { return {bw.grad() * 2}; }
  };
  const Tensor x = leaf({1, 3});
  CHECK_THROWS_WITH(gradcheck([](const std::vector<Tensor>& in) { return apply(Wrong{}, in[0]); }, {x}),
                    Contains("input 0[1]") && Contains("by finite differences"));
}

TEST_CASE("views pass gradcheck to second order") {
  using Case = std::pair<const char*, std::function<Tensor(const Tensor&)>>;
  const std::vector<Case> cases = {
      {"view",
       [](const Tensor& x) {
         return x.view({4, -1});
       }},
      {"reshape of a permuted tensor",
       [](const Tensor& x) {
         return x.permute({2, 0, 1}).reshape({6, 4});
       }},
      {"flatten", [](const Tensor& x) { return x.flatten(1); }},
      {"transpose", [](const Tensor& x) { return x.transpose(0, -1); }},
      {"unsqueeze and squeeze", [](const Tensor& x) { return x.unsqueeze(1).squeeze(1); }},
      {"expand",
       [](const Tensor& x) {
         return x.unsqueeze(0).expand({3, -1, -1, -1});
       }},
      {"slice with step", [](const Tensor& x) { return x.slice(2, 0, 4, 3); }},
      {"negative slice", [](const Tensor& x) { return x.slice(1, -2, -1); }},
      {"empty slice", [](const Tensor& x) { return x.slice(1, 2, 2).sum() + x.sum(); }},
      {"select", [](const Tensor& x) { return x.select(1, -1); }},
      {"narrow", [](const Tensor& x) { return x.narrow(2, 1, 2); }},
      {"contiguous", [](const Tensor& x) { return x.transpose(0, 2).contiguous(); }},
      {"clone", [](const Tensor& x) { return x.clone(); }},
  };
  Generator generator(3);
  for (const auto& [label, f] : cases) {
    INFO(label);
    const Tensor x = randn({2, 3, 4}, {.dtype = kFloat64}, generator).set_requires_grad();
    const auto square = [&f](const std::vector<Tensor>& in) { return f(in[0]) * f(in[0]); };
    CHECK(gradcheck(square, {x}));
    CHECK(gradgradcheck(square, {x}));
  }
}

TEST_CASE("casting carries gradients in each tensor's own dtype") {
  const Tensor x = from_vector<float>({1, 2}).set_requires_grad();
  x.to(kFloat64).sum().backward();
  CHECK(x.grad().dtype() == kFloat32);
  const Tensor h = from_vector<float>({1, 2}).to(kBFloat16).set_requires_grad();
  (h.to(kFloat32) * 2).sum().backward();
  CHECK(h.grad().dtype() == kBFloat16);
  CHECK(numbers(h.grad()) == Numbers{2, 2});
}

TEST_CASE("a leaf's gradient lies in memory as the leaf does") {
  const Tensor w = empty({2, 3, 2, 2}, {.dtype = kFloat64, .memory_format = kChannelsLast});
  w.fill_(1);
  Tensor leaf_weight = w;
  leaf_weight.set_requires_grad();
  (leaf_weight.contiguous() * 2).sum().backward();
  CHECK(leaf_weight.grad().strides() == leaf_weight.strides());
}

TEST_CASE("to_dot names operations, shapes and leaves") {
  const Tensor x = leaf({1, 2});
  const Tensor w = leaf({3, 4});
  const std::string dot = to_dot((x * w).sum(), {{"x", x}, {"w", w}});
  for (const char* part : {"digraph", "mul\\n[2]", "sum\\n[]", "x\\n[2]", "w\\n[2]", "->"}) {
    CHECK_THAT(dot, Contains(part));
  }
}
