// Sizes and strides whose arithmetic would overflow are rejected before anything is made from them.

#include <catch2/catch.hpp>

#include "taper/autograd/functions.h"
#include "taper/core/views.h"
#include "taper/ops/conv/conv2d.h"
#include "taper/ops/pool/pool2d.h"
#include "tests/support/test_tensors.h"

using namespace taper;
using Catch::Contains;

namespace {

constexpr int64_t kHuge = INT64_MAX, kBit62 = int64_t(1) << 62, kBit40 = int64_t(1) << 40;

}  // namespace

TEST_CASE("shapes of too many elements are refused, those with a zero among them") {
  CHECK_THROWS_WITH(empty({kHuge, 2}), Contains("multiply to more than 2^59"));
  CHECK_THROWS_WITH(empty({kBit62}, {.dtype = kFloat64}), Contains("more than 2^59"));  // 2^65 bytes
  CHECK_THROWS_WITH(empty({kBit62, 4, 0}), Contains("more than 2^59"));  // as in PyTorch: no strides
  CHECK_THROWS_WITH(empty({0, kHuge, kHuge}, {.dtype = kUInt8}), Contains("more than 2^59"));
  CHECK_THROWS_WITH(strides_for({kHuge, kHuge}), Contains("more than 2^59"));
  CHECK(empty({0, kBit40}).numel() == 0);
  CHECK_THROWS_AS(empty({int64_t(1) << 59}), OutOfMemoryError);
}

TEST_CASE("strides that reach too far are refused") {
  CHECK_THROWS_WITH(empty_strided({2, 2}, {kHuge, 1}), Contains("empty_strided: shape [2, 2] with strides"));
  CHECK_THROWS_WITH(empty_strided({3}, {kBit62}), Contains("reaches past 2^59"));
  CHECK_THROWS_WITH(empty_strided({2, 2, 2}, {kBit62, kBit62, 1}), Contains("reaches past 2^59"));
  CHECK_THROWS_WITH(empty_strided({0, 5}, {1, kHuge}), Contains("reaches past 2^59"));
  CHECK_THROWS_WITH(empty_strided({1}, {kHuge}), Contains("reaches past 2^59"));
  CHECK_THROWS_WITH(empty_strided({2}, {-1}), Contains("must not be negative"));
  CHECK_THROWS_WITH(empty_strided({2}, {1, 1}), Contains("differ in length"));
  CHECK(empty_strided({2, 3}, {0, 4}).storage()->size_bytes() == 9 * sizeof(float));

  const Tensor x = zeros({4});
  CHECK_THROWS_WITH(views::as_strided(x, {3}, {kBit62}, 0), Contains("as_strided: "));
  CHECK_THROWS_WITH(views::as_strided(x, {3, 3}, {kBit62, kBit62}, 1), Contains("as_strided: "));
  CHECK_THROWS_WITH(views::as_strided(x, {2}, {1}, kHuge), Contains("reaches past the storage"));
  CHECK_THROWS_WITH(views::as_strided(x, {0}, {1}, kHuge), Contains("reaches past the storage"));
}

TEST_CASE("views that would be too large are refused") {
  const Tensor x = zeros({1}), four = zeros({4});
  CHECK_THROWS_WITH(expand(x, {kBit40, kBit40}), Contains("more than 2^59"));
  CHECK_THROWS_WITH(view(four, {kBit40, kBit40, -1}), Contains("more than 2^59"));
  CHECK_THROWS_WITH(view(four, {int64_t(1) << 32, int64_t(1) << 32, -1}), Contains("more than 2^59"));
  CHECK_THROWS_WITH(reshape(four, {kBit62, 4, 1}), Contains("more than 2^59"));
  CHECK_THROWS_WITH(add(expand(x, {kBit40, 1}), expand(x, {1, kBit40})), Contains("more than 2^59"));
  const std::vector<Tensor> many(40, expand(x, {int64_t(1) << 58}));
  CHECK_THROWS(cat(many));
  CHECK(views::slice(four, 0, 0, 4, kHuge).shape() == Shape{1});
  CHECK(views::slice(four, 0, 1, 1, kHuge).numel() == 0);
  CHECK(views::slice(four, 0, kHuge, kHuge).numel() == 0);
  CHECK(chunk(four, kHuge).size() == 4);
  CHECK(split(four, kHuge).size() == 1);
  CHECK_THROWS_WITH(split(four, std::vector<int64_t>{2, kHuge}), Contains("do not add up"));
}

TEST_CASE("output sizes that overflow are refused") {
  const Tensor x = zeros({1, 1, 4, 4}), weight = zeros({1, 1, 3, 3});
  CHECK_THROWS_WITH(pad(x, {kHuge, kHuge}), Contains("pad: "));
  CHECK_THROWS_WITH(pad(x, {0, kHuge - 4}), Contains("more than 2^59"));
  CHECK_THROWS_WITH(ops::conv2d(x, weight, {}, {.padding = kBit62}), Contains("conv2d: "));
  CHECK_THROWS_WITH(ops::conv2d(x, weight, {}, {.padding = kBit62 / 2}), Contains("more than 2^59"));
  CHECK_THROWS_WITH(ops::conv2d(x, weight, {}, {.dilation = kBit62}), Contains("conv2d: "));
  CHECK_THROWS_WITH(ops::conv2d(x, weight, {}, {.groups = kHuge}), Contains("weight has"));
  CHECK_THROWS_WITH(ops::conv2d(x, zeros({1, 4, 3, 3}), {}, {.groups = kHuge}), Contains("conv2d: "));
  CHECK_THROWS_WITH(ops::max_pool2d(x, {.kernel = 3, .dilation = (int64_t(1) << 30) - 1}),
                    Contains("is too large"));
  CHECK_THROWS_WITH(ops::max_pool2d(x, {.kernel = kHuge}), Contains("max_pool2d: "));
  CHECK_THROWS_WITH(ops::avg_pool2d(x, {.kernel = 2, .padding = kHuge}), Contains("half the kernel"));
}

TEST_CASE("pad takes all eight axes") {
  const Tensor x = random_tensor({2, 1, 2, 1, 2, 1, 2, 1}, kFloat32);
  const Tensor y = pad(x, {0, 1, 1, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 2, 0}, 7);
  CHECK(y.shape() == Shape{4, 2, 2, 3, 2, 2, 3, 2});
  Tensor middle = y.narrow(0, 2, 2).narrow(1, 0, 1).narrow(2, 0, 2).narrow(3, 1, 1);
  middle = middle.narrow(4, 0, 2).narrow(5, 0, 1).narrow(6, 1, 2).narrow(7, 0, 1);
  CHECK(ops::to_vector<float>(middle) == ops::to_vector<float>(x));
  CHECK(y.sum().item() == Approx(x.sum().item() + 7.0 * double(y.numel() - x.numel())));

  const Tensor leaf = ones({1, 1, 1, 1, 2}).set_requires_grad();
  mul(pad(leaf, {1, 1, 0, 0, 0, 1, 0, 0, 1, 0}), 3).sum().backward();  // five axes
  CHECK(ops::to_vector<float>(leaf.grad()) == std::vector<float>{3, 3});
}
