// Activation checkpointing: which gradients the second run brings, and which random numbers it draws.

#include "taper/autograd/tape/checkpoint.h"

#include <catch2/catch.hpp>
#include <memory>

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/engine.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/nn/layers/dropout.h"
#include "taper/nn/layers/linear.h"
#include "test_tensors.h"

using namespace taper;
using Catch::Matchers::Contains;

namespace {

using Numbers = std::vector<double>;

Numbers numbers(const Tensor& x) {
  return to_vector<double>(x);
}

/// The gradient of the sum of segment(x), run plainly or as a checkpoint, from the same random numbers.
Numbers input_gradient(const std::function<Tensor(const Tensor&)>& segment, bool checkpointed) {
  manual_seed(7);
  const Tensor x = random_tensor({40}).set_requires_grad();
  const Tensor y = checkpointed ? checkpoint(segment, x) : segment(x);
  dropout(y, 0.5).sum().backward();
  return numbers(x.grad());
}

}  // namespace

TEST_CASE("checkpoint on an input that needs no gradient brings parameters theirs") {
  const Device device = GENERATE(from_range(test_devices()));
  Linear first(2, 2);
  first.to(device);
  const Tensor pictures = from_vector<float>({1, 2}, {1, 2}).to(device);
  const auto segment = [&](const Tensor& x) { return (first(x) * 3).exp(); };
  segment(pictures).sum().backward();
  const Numbers expected = to_vector<double>(first.weight.grad().to(kFloat64));
  first.weight.set_grad({});
  const Tensor y = checkpoint(segment, pictures);
  CHECK(y.requires_grad());
  y.sum().backward();
  CHECK(to_vector<double>(first.weight.grad().to(kFloat64)) == expected);
}

TEST_CASE("checkpoint of no inputs, undefined ones and integers brings parameters their gradients") {
  const Tensor w = random_tensor({3}).set_requires_grad();
  const std::vector<std::vector<Tensor>> cases = {
      {}, {Tensor()}, {zeros({2}, {.dtype = kInt64})}, {ones({3}), Tensor()}};
  for (const std::vector<Tensor>& inputs : cases) {
    w.set_grad({});
    checkpoint([&](const std::vector<Tensor>&) { return std::vector<Tensor>{w * w}; }, inputs)[0]
        .sum()
        .backward();
    CHECK(numbers(w.grad()) == numbers(w * 2));
  }
}

TEST_CASE("what checkpoint returns requires a gradient only if something in the segment does") {
  const Tensor x = ones({2}), w = ones({2}).set_requires_grad();
  CHECK_FALSE(checkpoint([](const Tensor& t) { return t * 2; }, x).requires_grad());
  CHECK(checkpoint([&](const Tensor& t) { return t * w; }, x).requires_grad());
  CHECK(checkpoint([&](const Tensor& t) { return checkpoint([&](const Tensor& u) { return u * w; }, t); }, x)
            .requires_grad());
  const auto unrecorded = [&](const Tensor& t) {
    const NoGradGuard no_grad;
    return t * w;
  };
  CHECK_FALSE(checkpoint(unrecorded, x).requires_grad());
  const NoGradGuard no_grad;
  CHECK_FALSE(checkpoint([&](const Tensor& t) { return t * w; }, x).requires_grad());
}

TEST_CASE("checkpoint of a segment that returns a tensor that is not its own") {
  const Tensor x = random_tensor({2}).set_requires_grad(), h = x * 1;
  const Tensor w = random_tensor({2}, kFloat64, 2).set_requires_grad();
  SECTION("its input") {
    const Tensor y = checkpoint([](const Tensor& t) { return t; }, h);
    CHECK(h.grad_fn()->name() == "mul");
    (y * 2 + h).sum().backward();
    CHECK(numbers(x.grad()) == Numbers{3, 3});
    CHECK_THROWS_WITH(y.mul_(2), Contains("checkpoint"));
  }
  SECTION("a view of its input") {
    const Tensor y = checkpoint([](const Tensor& t) { return t.view({2, 1}); }, h);
    (y * 2).sum().backward();
    CHECK(numbers(x.grad()) == Numbers{2, 2});
    CHECK_THROWS_WITH(y.mul_(2), Contains("checkpoint"));
  }
  SECTION("a parameter") {
    const Tensor y = checkpoint([&](const Tensor&) { return w; }, h);
    CHECK(w.is_leaf());
    (y * 5).sum().backward();
    CHECK(numbers(w.grad()) == Numbers{5, 5});
    CHECK_FALSE(x.grad().defined());
  }
  SECTION("a parameter, and nothing else requires a gradient") {
    checkpoint([&](const Tensor&) { return w; }, zeros({1})).sum().backward();
    CHECK(numbers(w.grad()) == Numbers{1, 1});
    CHECK(w.is_leaf());
  }
}

TEST_CASE("checkpoint refuses a segment whose results change from one run to the next, and blames it") {
  const Tensor x = random_tensor({4}).set_requires_grad();
  bool again = false;
  Tensor y;
  std::string blame;
  SECTION("another shape") {
    y = checkpoint([&](const Tensor& t) { return again ? t.sum() : t * 2; }, x);
    blame = "segment's output 0 had shape [4] in forward and has [] when backward runs";
  }
  SECTION("another number of them") {
    y = checkpoint([&](const std::vector<Tensor>& t) { return std::vector<Tensor>(again ? 2 : 1, t[0] * 2); },
                   std::vector<Tensor>{x})[0];
    blame = "segment returned 1 tensors in forward and 2 when";
  }
  SECTION("none") {
    y = checkpoint([&](const Tensor& t) { return again ? Tensor() : t * 2; }, x);
    blame = "segment's output 0 is undefined";
  }
  again = true;
  CHECK_THROWS_WITH(y.sum().backward(), Contains("checkpoint: the " + blame));
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("checkpoint draws the same random numbers in both runs from any generator") {
  Generator own(3);
  Dropout layer(0.5, own);
  const std::vector<std::pair<const char*, std::function<Tensor(const Tensor&)>>> cases = {
      {"default generator", [](const Tensor& x) { return dropout(x, 0.5); }},
      {"the caller's generator", [&](const Tensor& x) { return dropout(x, 0.5, true, own); }},
      {"a layer's generator", [&](const Tensor& x) { return layer(x); }},
      {"several", [&](const Tensor& x) { return dropout(dropout(x, 0.3, true, own), 0.3) + layer(x); }},
      {"one of the segment's own",
       [](const Tensor& x) {
         Generator local(5);
         return dropout(x, 0.5, true, local) + dropout(x, 0.5, true, local);
       }},
      {"a reseeded one",
       [&](const Tensor& x) {
         own.manual_seed(11);
         return dropout(x, 0.5, true, own);
       }},
      {"a checkpoint inside",
       [&](const Tensor& x) {
         return checkpoint([&](const Tensor& t) { return dropout(t, 0.4, true, own); }, dropout(x, 0.4));
       }},
  };
  for (const auto& [label, segment] : cases) {
    INFO(label);
    own.manual_seed(3);
    const Numbers plain = input_gradient(segment, false);
    const GeneratorState after_plain = own.state(), default_after_plain = default_generator().state();
    own.manual_seed(3);
    CHECK(input_gradient(segment, true) == plain);
    // The second run has drawn nothing.
    CHECK(own.state() == after_plain);
    CHECK(default_generator().state() == default_after_plain);
  }
}

TEST_CASE("a generator may be gone when the segment runs again") {
  const Tensor x = random_tensor({40}).set_requires_grad();
  auto generator = std::make_unique<Generator>(5);
  const auto segment = [&](const Tensor& t) {
    return generator ? dropout(t, 0.5, true, *generator) : dropout(t, 0.5);
  };
  const Tensor y = checkpoint(segment, x);
  generator.reset();
  y.sum().backward();
  for (int64_t i = 0; i < 40; ++i) {  // y = x * gradient: the masks are equal
    CHECK(numbers(y)[size_t(i)] == numbers(x)[size_t(i)] * numbers(x.grad())[size_t(i)]);
  }
}

TEST_CASE("an exception in the second run leaves generators and modes as they are") {
  const Tensor x = random_tensor({4}).set_requires_grad();
  bool fails = false;
  const auto segment = [&](const Tensor& t) {
    const Tensor y = dropout(t, 0.5);
    if (fails) throw Error("no second run");
    return y;
  };
  const Tensor y = checkpoint(segment, x);
  fails = true;
  rand({5});
  const GeneratorState before = default_generator().state();
  CHECK_THROWS_WITH(y.sum().backward(), Contains("no second run"));
  CHECK(default_generator().state() == before);
  CHECK(GradMode::is_enabled());
  const Tensor a = rand({5}), b = rand({5});
  CHECK(numbers(a.to(kFloat64)) != numbers(b.to(kFloat64)));
}

TEST_CASE("checkpoint refuses a second run that draws other random numbers than the first") {
  const Tensor x = random_tensor({8}).set_requires_grad();
  int draws = 1;
  int64_t size = 8;
  const auto segment = [&](const Tensor& t) {
    Tensor y = t * 1;
    for (int i = 0; i < draws; ++i) y = y + rand({size}, {.dtype = kFloat64}).sum();
    return y;
  };
  const Tensor y = checkpoint(segment, x);
  SECTION("more") {
    draws = 2;
  }
  SECTION("fewer") {
    draws = 0;
  }
  SECTION("others") {
    size = 80;
  }
  CHECK_THROWS_WITH(y.sum().backward(), Contains("checkpoint") && Contains("random numbers"));
}
