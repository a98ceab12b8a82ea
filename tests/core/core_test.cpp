// dtypes, shapes, scalars, devices, and what a Tensor says about itself.

#include <set>

#include "taper/core/base/dtype.h"
#include "taper/core/base/warning.h"
#include "taper/core/dims.h"
#include "taper/core/tensor.h"
#include "taper/core/views.h"

using namespace taper;

namespace {

const std::vector<DType> kAll = {kFloat32, kFloat64, kFloat16, kBFloat16, kInt64, kInt32, kUInt8, kBool};

}  // namespace

TEST_CASE("dtype names round-trip") {
  for (const DType dtype : kAll) CHECK(parse_dtype(name(dtype)) == dtype);
  CHECK_THROWS_WITH(parse_dtype("float32"),
                    "dtype 'float32' is not known; use f32, f64, f16, bf16, i64, i32, u8 or bool");
  CHECK(fmt::format("{} {}", kBFloat16, Shape{2, 3}) == "bf16 [2, 3]");
}

TEST_CASE("promote_types is PyTorch's table") {
  // torch.promote_types over the dtypes in kAll's order.
  const char* table[8][8] = {
      {"f32", "f64", "f32", "f32", "f32", "f32", "f32", "f32"},
      {"f64", "f64", "f64", "f64", "f64", "f64", "f64", "f64"},
      {"f32", "f64", "f16", "f32", "f16", "f16", "f16", "f16"},
      {"f32", "f64", "f32", "bf16", "bf16", "bf16", "bf16", "bf16"},
      {"f32", "f64", "f16", "bf16", "i64", "i64", "i64", "i64"},
      {"f32", "f64", "f16", "bf16", "i64", "i32", "i32", "i32"},
      {"f32", "f64", "f16", "bf16", "i64", "i32", "u8", "u8"},
      {"f32", "f64", "f16", "bf16", "i64", "i32", "u8", "bool"},
  };
  for (size_t a = 0; a < 8; ++a) {
    for (size_t b = 0; b < 8; ++b) CHECK(name(promote_types(kAll[a], kAll[b])) == table[a][b]);
  }
}

TEST_CASE("scalars widen a tensor's category, never its size") {
  CHECK(Scalar(1).result_type(kUInt8) == kUInt8);
  CHECK(Scalar(1).result_type(kBool) == kInt64);
  CHECK(Scalar(true).result_type(kBool) == kBool);
  CHECK(Scalar(1.5).result_type(kInt64) == kFloat32);
  CHECK(Scalar(1.5).result_type(kBFloat16) == kBFloat16);
  CHECK(Scalar(1.5f).to_int64() == 1);
  CHECK(Scalar(INT64_MAX).to_int64() == INT64_MAX);
}

TEST_CASE("result_type: tensors without dimensions do not widen within a category") {
  const auto tensor = [](DType dtype) { return empty({2}, {.dtype = dtype}); };
  const auto number = [](DType dtype) { return empty({}, {.dtype = dtype}); };
  CHECK(result_type(tensor(kFloat32), number(kFloat64)) == kFloat32);
  CHECK(result_type(number(kInt64), tensor(kInt32)) == kInt32);
  CHECK(result_type(tensor(kInt32), number(kFloat64)) == kFloat64);
  CHECK(result_type(number(kFloat32), number(kFloat64)) == kFloat64);
  CHECK(result_type(tensor(kBool), number(kUInt8)) == kUInt8);
}

TEST_CASE("Dims is a list of at most eight") {
  Dims dims = {2, 3};
  dims.push_back(4);
  dims.insert(1, 9);
  CHECK(dims == Dims{2, 9, 3, 4});
  dims.erase(0);
  CHECK(dims == Dims{9, 3, 4});
  CHECK(dims.contains(3));
  CHECK(!dims.contains(2));
  CHECK(dims.str() == "[9, 3, 4]");
  CHECK(Dims::filled(3, 7) == Dims{7, 7, 7});
  CHECK_THROWS_WITH(Dims::filled(9, 1), Catch::Contains("at most 8 dimensions"));
  CHECK_THROWS_WITH((Dims{1, 2, 3, 4, 5, 6, 7, 8, 9}), Catch::Contains("at most 8 dimensions, got 9"));
}

TEST_CASE("numel, axes and broadcasting") {
  CHECK(numel({}) == 1);
  CHECK(numel({3, 0, 5}) == 0);
  CHECK(numel({1 << 20, 1 << 20}) == int64_t(1) << 40);
  CHECK_THROWS_WITH(numel({INT64_MAX, 2}), Catch::Contains("multiply to more than 2^59"));
  CHECK_THROWS_WITH(numel({INT64_MAX, 2, 0}), Catch::Contains("multiply to more than 2^59"));
  CHECK(numel({1 << 20, 1 << 20, 0}) == 0);
  CHECK_THROWS_WITH(numel({2, -1}), "shape [2, -1] has a negative size");

  CHECK(normalize_axis(-1, 3, "f") == 2);
  CHECK(normalize_axis(0, 0, "f") == 0);
  CHECK(normalize_axis(-1, 0, "f") == 0);
  CHECK_THROWS_WITH(normalize_axis(3, 3, "f"), "f: axis 3 is out of range for a tensor of 3 dimensions");
  CHECK_THROWS(normalize_axis(-4, 3, "f"));

  CHECK(broadcast_shapes({5, 1, 3}, {4, 1}, "f") == Shape{5, 4, 3});
  CHECK(broadcast_shapes({}, {2}, "f") == Shape{2});
  CHECK(broadcast_shapes({1}, {0}, "f") == Shape{0});
  CHECK_THROWS_WITH(broadcast_shapes({2, 0}, {2, 3}, "f"), Catch::Contains("do not broadcast"));
}

TEST_CASE("devices are read and printed") {
  CHECK(Device("cpu").is_cpu());
  CHECK(Device("cuda") == Device(kCUDA, 0));
  CHECK(Device("cuda:3").str() == "cuda:3");
  for (const char* bad : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:999", "cpu:1", ""}) {
    INFO(bad);
    CHECK_THROWS_AS(Device(bad), Error);
  }
}

TEST_CASE("strides, contiguity and density") {
  CHECK(strides_for({2, 3, 4, 5}) == Strides{60, 20, 5, 1});
  CHECK(strides_for({2, 3, 4, 5}, kChannelsLast) == Strides{60, 1, 15, 3});
  CHECK_THROWS_WITH(strides_for({2, 3}, kChannelsLast), Catch::Contains("needs 4 dimensions"));
  const Tensor x = empty({2, 3, 4, 5});
  const Tensor last = empty({2, 3, 4, 5}, {.memory_format = kChannelsLast});
  CHECK(x.is_contiguous());
  CHECK(!x.is_contiguous(kChannelsLast));
  CHECK(last.is_contiguous(kChannelsLast));
  CHECK(last.memory_format() == kChannelsLast);
  CHECK(x.memory_format() == kContiguous);
  CHECK(last.is_dense());
  CHECK(views::permute(x, {2, 0, 3, 1}).is_dense());
  CHECK(!views::slice(x, 3, 0, 5, 2).is_dense());
  CHECK(!views::expand(empty({1, 3}), {2, 3}).is_dense());
  // One channel or one pixel: both formats at once.
  CHECK(empty({2, 1, 4, 5}).is_contiguous(kChannelsLast));
  CHECK(empty({2, 7, 1, 1}).is_contiguous(kChannelsLast));
  CHECK(empty({2, 0, 4, 5}).is_contiguous(kChannelsLast));
  CHECK(empty_like(last).strides() == last.strides());
  CHECK(empty_like(views::slice(x, 3, 0, 5, 2), kInt64).strides() == strides_for({2, 3, 4, 3}));
}

TEST_CASE("handles, storage and versions") {
  const Tensor x = from_vector<float>({1, 2, 3, 4}, {2, 2});
  const Tensor same = x, view = views::alias(x);
  CHECK(same.is_same(x));
  CHECK(!view.is_same(x));
  CHECK(view.storage() == x.storage());
  view.bump_version();
  CHECK(x.version() == 1);
  CHECK(x.size(-1) == 2);
  CHECK(x.size_bytes() == 16);
  CHECK(x.data<float>()[3] == 4);
  CHECK_THROWS_WITH(x.data<double>(), "data: the tensor holds f32, not f64; convert with .to()");
  CHECK_THROWS_WITH(Tensor().shape(), Catch::Contains("the tensor is undefined"));
  CHECK_THROWS_WITH(from_vector<float>({1, 2}, {3}), "from_vector: 2 values do not fill shape [3]");
  CHECK_THROWS_WITH(empty({2}, {.device = Device("cuda:100")}), Catch::Contains("cuda:100"));

  std::vector<float> memory = {5, 6};
  int released = 0;
  {
    const Tensor blob = from_blob(memory.data(), {2}, kFloat32, [&] { ++released; });
    const Tensor part = views::select(blob, 0, 1);
    CHECK(part.data<float>() == memory.data() + 1);
  }
  CHECK(released == 1);
}

TEST_CASE("a handler of warnings may warn, and may replace itself") {
  std::vector<std::string> seen;
  const WarningHandler before = set_warning_handler([&](std::string_view text) {
    seen.emplace_back(text);
    if (text == "first") warn("second");
    if (text == "second")
      set_warning_handler([&](std::string_view later) { seen.push_back("new " + std::string(later)); });
  });
  warn("first");
  warn("third");
  set_warning_handler(before);
  CHECK(seen == std::vector<std::string>{"first", "second", "new third"});
}
