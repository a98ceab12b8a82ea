// x = y rebinds a variable; x[0] = y, which has none to rebind, writes.

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/grad_mode.h"
#include "tests/support/test_tensors.h"

using namespace taper;

namespace {

using Values = std::vector<double>;

Values values(const Tensor& x) {
  return ops::to_vector<double>(x);
}

Tensor first_row(const Tensor& x) {
  return x[0];
}

}  // namespace

TEST_CASE("a row, a slice and a view on the left are written") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor h = zeros({2, 2}, {.device = device});
  h[0] = from_vector<float>({2, 1});
  CHECK(values(h) == Values{2, 1, 0, 0});
  h.slice(1, 0, 1) = full({2, 1}, 7, {.device = device});
  CHECK(values(h) == Values{7, 1, 7, 0});
  h.view({4}).narrow(0, 1, 2) = from_vector<float>({5, 6});
  CHECK(values(h) == Values{7, 5, 6, 0});
  h[1][1] = 9;
  CHECK(values(h) == Values{7, 5, 6, 9});
  h[0] = h[1];
  CHECK(values(h) == Values{6, 9, 6, 9});
  h[0] = full({}, 2.9, {.dtype = kFloat64, .device = device});  // broadcast and converted, as copy_
  CHECK(values(h) == Values{2.9f, 2.9f, 6, 9});
  first_row(h) = zeros({2}, {.device = device});
  CHECK(values(h) == Values{0, 0, 6, 9});

  CHECK_THROWS_WITH(h[0] = ones({3}, {.device = device}), Catch::Contains("copy_: "));
  CHECK_THROWS_WITH(h[0] = Tensor(), Catch::Contains("copy_: the source is an undefined tensor"));
  CHECK_THROWS_WITH(Tensor() = h, Catch::Contains("undefined"));
}

TEST_CASE("a written row is on the tape") {
  const Tensor x = from_vector<float>({1, 2}).set_requires_grad();
  const Tensor h = zeros({2, 2});
  h[0] = mul(x, 3);
  h[1] = x;
  mul(h, h).sum().backward();  // (3x)^2 + x^2
  CHECK(values(x.grad()) == Values{20, 40});

  const Tensor leaf = zeros({2, 2}).set_requires_grad();
  CHECK_THROWS_WITH(leaf[0] = ones({2}), Catch::Contains("view of a leaf that requires a gradient"));
  {
    const NoGradGuard guard;
    leaf[0] = from_vector<float>({1, 2});
  }
  CHECK(values(leaf) == Values{1, 2, 0, 0});
}

TEST_CASE("a written row bumps the version that the tape checks") {
  const Tensor x = from_vector<float>({1, 2}).set_requires_grad();
  const Tensor h = mul(x, 1), y = mul(h, h);
  const uint32_t before = h.version();
  h.view({2, 1})[0] = 5;
  CHECK(h.version() > before);
  CHECK_THROWS_WITH(y.sum().backward(), Catch::Contains("modified in place"));
}

TEST_CASE("variables are rebound, wherever they are") {
  const Tensor one = ones({2}), two = full({2}, 2);
  Tensor x = one;
  const Tensor same = x;
  x = two;
  CHECK(x.is_same(two));
  CHECK(values(same) == Values{1, 1});
  x = Tensor();
  CHECK_FALSE(x.defined());
  x = {};
  CHECK_FALSE(x.defined());
  x = one[0].defined() ? one : two;
  CHECK(x.is_same(one));
}

TEST_CASE("containers, references and algorithms rebind and never write") {
  const Tensor one = ones({1}), two = full({1}, 2), three = full({1}, 3);
  const auto untouched = [&] { return one.item() == 1 && two.item() == 2 && three.item() == 3; };

  std::vector<Tensor> list = {three, one, two};
  list[0] = one;
  list.back() = three;
  list.insert(list.begin(), two);
  list.erase(list.begin() + 1);
  std::swap(list[0], list[1]);
  std::sort(list.begin(), list.end(), [](const Tensor& a, const Tensor& b) { return a.item() > b.item(); });
  CHECK(list[0].is_same(three));
  for (auto&& x : list) x = one;
  CHECK(list[1].is_same(one));

  std::map<std::string, Tensor> named;
  named["a"] = one;
  named["a"] = two;
  CHECK(named["a"].is_same(two));

  std::optional<Tensor> maybe = one;
  maybe = two;
  CHECK(maybe->is_same(two));

  Tensor a = one, b = two;
  std::tie(a, b) = std::make_tuple(two, three);
  CHECK((a.is_same(two) && b.is_same(three)));
  std::swap(a, b);
  CHECK(a.is_same(three));
  Tensor old = std::exchange(a, one);
  CHECK((a.is_same(one) && old.is_same(three)));
  const auto& [c, d] = std::pair(a = two, b = one);
  CHECK((c.is_same(two) && d.is_same(one)));
  (true ? a : b) = three;
  CHECK(a.is_same(three));
  struct Holder {
    Tensor x, y;
  };
  Holder holder{one, two};
  holder = Holder{two, three};
  CHECK((holder.x.is_same(two) && holder.y.is_same(three)));
  const auto returned = [&] {
    Tensor local = one;
    return local = two;
  };
  CHECK(returned().is_same(two));
  CHECK(untouched());
}

TEST_CASE("what stands on the left as a temporary is written, moved variables among them") {
  Tensor a = zeros({2});
  const Tensor b = a;
  std::move(a) = ones({2});
  CHECK(a.is_same(b));
  CHECK(values(b) == Values{1, 1});
  const Tensor h = zeros({2, 2});
  (values(h)[0] == 0 ? h[0] : h[1]) = from_vector<float>({1, 2});
  CHECK(values(h) == Values{1, 2, 0, 0});
  // The value of the assignment is the tensor on the left.
  const Tensor row = h[1] = full({2}, 4);
  CHECK(row.storage() == h.storage());
  CHECK(values(row) == Values{4, 4});
  static_assert(std::is_nothrow_move_constructible_v<Tensor> && std::is_nothrow_move_assignable_v<Tensor>);
}
