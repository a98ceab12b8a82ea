// Views below the tape: geometry on shared storage, against plain indexing.

#include "taper/core/views.h"

#include <numeric>

#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"

using namespace taper;

namespace {

Tensor counting(const Shape& shape) {
  return views::view(ops::arange(0, numel(shape), 1, {.dtype = kFloat64}), shape);
}

std::vector<double> values(const Tensor& x) {
  return ops::to_vector<double>(x);
}

double at(const Tensor& x, std::initializer_list<int64_t> index) {
  int64_t offset = x.storage_offset();
  int64_t axis = 0;
  for (const int64_t i : index) offset += i * x.strides()[axis++];
  return static_cast<const double*>(x.storage()->data())[offset];
}

}  // namespace

TEST_CASE("view reinterprets what lies evenly in memory and refuses the rest") {
  const Tensor x = counting({2, 3, 4});
  for (const Shape& shape : {Shape{24}, {6, 4}, {2, 12}, {4, 3, 2}, {1, 24, 1}, {2, 3, 2, 2}, {2, 1, 3, 4}}) {
    const Tensor y = views::view(x, shape);
    CHECK(y.shape() == shape);
    CHECK(y.storage() == x.storage());
    CHECK(values(y) == values(x));
  }
  CHECK(views::view(x, {-1, 4}).shape() == Shape{6, 4});
}

TEST_CASE("view across strided axes") {
  const Tensor x = counting({4, 6, 5});
  const Tensor columns = views::slice(x, 1, 0, 6, 2);  // [4, 3, 5], strides 30, 10, 1
  CHECK(views::can_view(columns, {4, 3, 5, 1}));
  CHECK(views::can_view(columns, {12, 5}));  // 30 = 3 * 10: the outer axes lie evenly
  CHECK(!views::can_view(columns, {4, 15}));
  CHECK(values(views::view(columns, {12, 5})) == values(columns));
  CHECK(values(views::view(columns, {2, 2, 3, 5})) == values(columns));
  const Tensor turned = views::transpose(x, 0, 2);
  CHECK(!views::can_view(turned, {120}));
  CHECK_THROWS_WITH(
      views::view(turned, {120}),
      "view: shape [5, 6, 4] with strides [1, 5, 30] cannot be seen as [120] without a copy; use "
      "reshape");
  CHECK(views::can_view(views::expand(counting({3, 1}), {3, 4}), {3, 2, 2}));
  CHECK(!views::can_view(views::expand(counting({3, 1}), {3, 4}), {12}));
  CHECK(views::view(counting({0, 3}), {5, 0}).shape() == Shape{5, 0});
  CHECK(views::view(counting({}), {1, 1}).shape() == Shape{1, 1});
  CHECK_THROWS_WITH(views::view(x, {7, -1}),
                    Catch::Contains("120 elements of shape [4, 6, 5] do not divide"));
  CHECK_THROWS_WITH(views::view(x, {-1, -1}), Catch::Contains("more than one -1"));
  CHECK_THROWS_WITH(views::view(x, {4, 6}), Catch::Contains("has 120 elements, shape [4, 6] has 24"));
  CHECK_THROWS_WITH(views::view(counting({0}), {0, -1}), Catch::Contains("do not divide"));
}

TEST_CASE("permute, transpose, squeeze and unsqueeze") {
  const Tensor x = counting({2, 3, 4});
  const Tensor y = views::permute(x, {2, 0, -2});
  CHECK(y.shape() == Shape{4, 2, 3});
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      for (int64_t k = 0; k < 4; ++k) REQUIRE(at(y, {k, i, j}) == at(x, {i, j, k}));
    }
  }
  CHECK(values(views::permute(y, {1, 2, 0})) == values(x));
  CHECK(views::transpose(x, 0, -1).shape() == Shape{4, 3, 2});
  CHECK_THROWS_WITH(views::permute(x, {0, 1}), "permute: 2 axes for a tensor of shape [2, 3, 4]");
  CHECK_THROWS_WITH(views::permute(x, {0, 1, 1}), "permute: axis 1 appears twice in [0, 1, 1]");

  const Tensor wide = views::unsqueeze(x, 1);
  CHECK(wide.shape() == Shape{2, 1, 3, 4});
  CHECK(views::unsqueeze(x, -1).shape() == Shape{2, 3, 4, 1});
  CHECK(views::unsqueeze(counting({}), 0).shape() == Shape{1});
  CHECK(values(views::squeeze(wide, 1)) == values(x));
  CHECK(views::squeeze(wide, 0).shape() == wide.shape());
  CHECK_THROWS(views::unsqueeze(x, 4));
}

TEST_CASE("expand stretches sizes of one") {
  const Tensor x = counting({3, 1});
  const Tensor y = views::expand(x, {2, -1, 4});
  CHECK(y.shape() == Shape{2, 3, 4});
  CHECK(y.strides() == Strides{0, 1, 0});
  CHECK(at(y, {1, 2, 3}) == 2);
  CHECK(views::expand(x, {3, 0}).numel() == 0);
  CHECK_THROWS_WITH(views::expand(x, {3}), Catch::Contains("fewer dimensions"));
  CHECK_THROWS_WITH(views::expand(x, {2, 4}), "expand: shape [3, 1] does not stretch to [2, 4]");
  CHECK_THROWS_WITH(views::expand(x, {-1, 3, 1}), Catch::Contains("stands for no existing size"));
}

TEST_CASE("slice, narrow and select") {
  const Tensor x = counting({10});
  CHECK(values(views::slice(x, 0, 2, 5)) == std::vector<double>{2, 3, 4});
  CHECK(values(views::slice(x, 0, -3, 100)) == std::vector<double>{7, 8, 9});
  CHECK(values(views::slice(x, 0, 1, 9, 3)) == std::vector<double>{1, 4, 7});
  CHECK(views::slice(x, 0, 7, 3).numel() == 0);
  CHECK(values(views::slice(views::slice(x, 0, 1, 9, 3), 0, 1, 3)) == std::vector<double>{4, 7});
  CHECK_THROWS_WITH(views::slice(x, 0, 0, 5, 0), "slice: step must be at least 1, got 0");
  CHECK_THROWS_WITH(views::slice(x, 1, 0, 5), Catch::Contains("axis 1 is out of range"));

  const Tensor table = counting({3, 4});
  CHECK(values(views::narrow(table, 1, 1, 2)) == std::vector<double>{1, 2, 5, 6, 9, 10});
  CHECK_THROWS_WITH(views::narrow(table, 1, 3, 2), Catch::Contains("2 elements from 3 on do not fit"));
  CHECK_THROWS(views::narrow(table, 1, INT64_MAX, 1));
  CHECK(values(views::select(table, 0, -1)) == std::vector<double>{8, 9, 10, 11});
  CHECK(values(views::select(table, 1, 2)) == std::vector<double>{2, 6, 10});
  CHECK_THROWS_WITH(views::select(table, 0, 3), Catch::Contains("index 3 is out of range"));
  CHECK_THROWS_WITH(views::select(counting({}), 0, 0), Catch::Contains("without dimensions"));
}

TEST_CASE("as_strided stays inside the storage") {
  const Tensor x = counting({12});
  const Tensor windows = views::as_strided(x, {5, 4}, {2, 1}, 0);
  CHECK(at(windows, {4, 3}) == 11);
  CHECK(at(windows, {2, 1}) == 5);
  CHECK_THROWS_WITH(views::as_strided(x, {5, 4}, {2, 1}, 1),
                    Catch::Contains("reaches past the storage of 12"));
  CHECK_THROWS_WITH(views::as_strided(x, {2}, {1}, -1), Catch::Contains("reaches past"));
  CHECK_THROWS(views::as_strided(x, {2}, {-1}, 3));
  CHECK(views::as_strided(x, {0, 4}, {100, 100}, 3).numel() == 0);
}
