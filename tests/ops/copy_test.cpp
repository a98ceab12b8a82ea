// Copies between layouts, dtypes and overlapping views, fills, and tensors of known values.

#include <numeric>

#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"

using namespace taper;

namespace {

/// 0, 1, 2, ... in row-major order.
Tensor counting(const Shape& shape, DType dtype = kFloat32) {
  return views::view(ops::cast(ops::arange(numel(shape)), dtype), shape);  // u8 counts round and round
}

std::vector<double> values(const Tensor& x) {
  return ops::to_vector<double>(x);
}

/// Returns the values in row-major order by index, independent of any copy.
std::vector<double> values_by_index(const Tensor& x) {
  std::vector<double> result;
  const Strides row_major = strides_for(x.shape());
  dispatch(x.dtype(), [&]<class T>() {
    for (int64_t i = 0; i < x.numel(); ++i) {
      int64_t offset = 0;
      for (int64_t axis = 0; axis < x.dim(); ++axis) {
        offset += i / row_major[axis] % x.shape()[axis] * x.strides()[axis];
      }
      result.push_back(double(x.data<T>()[offset]));
    }
  });
  return result;
}

}  // namespace

TEST_CASE("contiguous keeps values for any permutation, size and dtype") {
  const std::vector<Shape> shapes = {
      {2, 3, 4, 5}, {1, 1, 7, 1}, {3, 33, 65, 2}, {2, 0, 3, 4}, {64, 3, 37, 41}};
  const std::vector<Dims> orders = {{0, 1, 2, 3}, {0, 2, 3, 1}, {3, 2, 1, 0}, {1, 0, 3, 2}, {0, 3, 1, 2}};
  for (const Shape& shape : shapes) {
    for (const DType dtype : {kFloat32, kFloat64, kBFloat16, kInt64, kUInt8}) {
      const Tensor x = counting(shape, dtype);
      for (const Dims& order : orders) {
        INFO(shape.str() << " " << order.str());
        const Tensor view = views::permute(x, order);
        const std::vector<double> expected = values_by_index(view);
        for (const MemoryFormat format : {kContiguous, kChannelsLast}) {
          const Tensor y = ops::contiguous(view, format);
          CHECK(y.is_contiguous(format));
          REQUIRE(values_by_index(y) == expected);
        }
        REQUIRE(values(view) == expected);
      }
    }
  }
}

TEST_CASE("contiguous returns the tensor itself when nothing would change") {
  const Tensor x = counting({2, 3, 4, 5});
  CHECK(ops::contiguous(x).is_same(x));
  CHECK(!ops::contiguous(x, kChannelsLast).is_same(x));
  const Tensor pixel = counting({2, 3, 1, 1});
  CHECK(ops::contiguous(pixel, kChannelsLast).is_same(pixel));
  CHECK_THROWS_WITH(ops::contiguous(counting({2, 3}), kChannelsLast),
                    "contiguous: channels_last needs 4 dimensions [N, C, H, W], got shape [2, 3]");
}

TEST_CASE("clone and cast keep a dense tensor's strides") {
  const Tensor x = ops::contiguous(counting({2, 3, 4, 5}), kChannelsLast);
  CHECK(ops::clone(x).strides() == x.strides());
  CHECK(ops::clone(x).storage() != x.storage());
  CHECK(ops::cast(x, kFloat64).strides() == x.strides());
  CHECK(ops::cast(x, kFloat32).is_same(x));
  const Tensor expanded = views::expand(counting({3, 1}), {3, 4});
  CHECK(ops::clone(expanded).is_contiguous());
  CHECK(values(ops::clone(expanded)) == std::vector<double>{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2});
}

TEST_CASE("cast converts between every two dtypes") {
  const std::vector<DType> all = {kFloat32, kFloat64, kFloat16, kBFloat16, kInt64, kInt32, kUInt8, kBool};
  const std::vector<double> whole = {0, 1, 2, 100, 127};
  for (const DType from : all) {
    for (const DType to : all) {
      INFO(name(from) << " to " << name(to));
      const Tensor x = ops::cast(from_vector(whole), from);
      const Tensor y = ops::cast(x, to);
      CHECK(y.dtype() == to);
      const bool ones = from == kBool || to == kBool;
      CHECK(values(y) == (ones ? std::vector<double>{0, 1, 1, 1, 1} : whole));
      // Strided on both sides.
      const Tensor wide = ops::zeros({5, 3}, {.dtype = to});
      ops::copy_(views::select(wide, 1, 1),
                 views::select(views::expand(views::view(x, {5, 1}), {5, 2}), 1, 0));
      CHECK(values(views::select(wide, 1, 1)) == values(y));
      CHECK(values(views::select(wide, 1, 2)) == std::vector<double>(5, 0));
    }
  }
}

TEST_CASE("cast rounds once and truncates towards zero") {
  CHECK(values(ops::cast(from_vector<float>({-1.9f, -0.5f, 0.5f, 1.9f}), kInt64)) ==
        std::vector<double>{-1, 0, 0, 1});
  CHECK(values(ops::cast(from_vector<float>({0.0f, -0.25f, NAN}), kBool)) == std::vector<double>{0, 1, 1});
  const int64_t big = (int64_t(1) << 53) + 1;  // not a double
  CHECK(ops::to_vector<int64_t>(from_vector<int64_t>({big, -big})) == std::vector<int64_t>{big, -big});
  std::vector<float> many(1027);
  std::iota(many.begin(), many.end(), 1000.0f);
  std::vector<double> expected;
  for (const float value : many) expected.push_back(float(Half(value / 7)));
  for (float& value : many) value /= 7;
  CHECK(values(ops::cast(from_vector(many), kFloat16)) == expected);
}

TEST_CASE("copy_ broadcasts, converts and bumps the version") {
  const Tensor x = ops::zeros({2, 3});
  const uint32_t version = x.version();
  ops::copy_(x, from_vector<int64_t>({1, 2, 3}));
  CHECK(values(x) == std::vector<double>{1, 2, 3, 1, 2, 3});
  CHECK(x.version() == version + 1);
  CHECK_THROWS_WITH(ops::copy_(x, ops::zeros({2})), Catch::Contains("copy_: shapes [2, 3] and [2]"));
  CHECK_THROWS_WITH(ops::copy_(x, ops::zeros({4, 2, 3})), Catch::Contains("does not broadcast"));
  CHECK_THROWS_WITH(ops::copy_(views::expand(ops::zeros({1, 3}), {2, 3}), x),
                    Catch::Contains("share memory"));
}

TEST_CASE("copy_ between overlapping views reads before it writes") {
  const Tensor x = counting({5});
  ops::copy_(views::slice(x, 0, 1, 5), views::slice(x, 0, 0, 4));
  CHECK(values(x) == std::vector<double>{0, 0, 1, 2, 3});
  const Tensor square = counting({3, 3});
  ops::copy_(square, views::transpose(square, 0, 1));
  CHECK(values(square) == std::vector<double>{0, 3, 6, 1, 4, 7, 2, 5, 8});
}

TEST_CASE("fill_ writes views of every dtype and nothing beside them") {
  for (const DType dtype : {kFloat32, kFloat64, kFloat16, kBFloat16, kInt64, kInt32, kUInt8, kBool}) {
    const Tensor x = ops::zeros({3, 4}, {.dtype = dtype});
    ops::fill_(views::slice(x, 1, 1, 4, 2), 1);
    CHECK(values(x) == std::vector<double>{0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1});
  }
  CHECK(values(ops::full({2}, 0.5, {.dtype = kBool})) == std::vector<double>{1, 1});
  CHECK(values(ops::full({100'003}, 2.5)) == std::vector<double>(100'003, 2.5));
}

TEST_CASE("item needs exactly one element") {
  CHECK(ops::item(ops::full({1, 1}, 2.5, {.dtype = kBFloat16})) == 2.5);
  CHECK_THROWS_WITH(ops::item(ops::zeros({2})), "item: needs a tensor of one element, got shape [2]");
}

TEST_CASE("arange, linspace and eye") {
  CHECK(ops::arange(3).dtype() == kInt64);
  CHECK(values(ops::arange(3)) == std::vector<double>{0, 1, 2});
  CHECK(values(ops::arange(5, 0, -2)) == std::vector<double>{5, 3, 1});
  CHECK(ops::arange(0, 1, 0.25).dtype() == kFloat32);
  CHECK(values(ops::arange(0, 1, 0.25)) == std::vector<double>{0, 0.25, 0.5, 0.75});
  CHECK(ops::arange(2, 2).numel() == 0);
  CHECK_THROWS_WITH(ops::arange(0, 1, 0), Catch::Contains("not a finite range"));
  CHECK_THROWS_WITH(ops::arange(0, 1, -1), Catch::Contains("leads away"));
  CHECK(values(ops::linspace(-1, 1, 5)) == std::vector<double>{-1, -0.5, 0, 0.5, 1});
  CHECK(values(ops::linspace(3, 9, 1)) == std::vector<double>{3});
  CHECK(values(ops::eye(2, 3)) == std::vector<double>{1, 0, 0, 0, 1, 0});
  CHECK(values(ops::eye(2)) == std::vector<double>{1, 0, 0, 1});
  CHECK(ops::eye(0).numel() == 0);
}
