// Numbers on their way into tensors and out again: integers exact to the last bit, and nothing that does not
// fit a dtype.

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "taper/autograd/functions.h"
#include "taper/core/scalar.h"
#include "tests/support/test_tensors.h"

using namespace taper;
using Catch::Contains;

namespace {

/// Not a double: its neighbours are 2^53 and 2^53 + 2.
constexpr int64_t kOdd = (int64_t(1) << 53) + 1;

Tensor integers(const std::vector<int64_t>& values, Device device) {
  return from_vector(values).to(device);
}

}  // namespace

TEST_CASE("64-bit integers come out of a tensor as they went in") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const int64_t value : {kOdd, -kOdd, INT64_MAX, INT64_MAX - 1, INT64_MIN, INT64_MIN + 1}) {
    const Tensor x = integers({value}, device);
    CHECK(x.item<int64_t>() == value);
    CHECK(ops::item<int64_t>(x) == value);
    CHECK(ops::to_vector<int64_t>(x)[0] == value);
    CHECK(ops::full({}, value, {.dtype = kInt64, .device = device}).item<int64_t>() == value);
    CHECK(to_string(x.cpu()) == fmt::format("tensor([{}], dtype=i64)", value));
  }
  CHECK(to_string(from_vector<int64_t>({kOdd, -7})) ==
        "tensor([9007199254740993,               -7], dtype=i64)");
  CHECK(to_string(from_vector<int32_t>({INT32_MIN})) == "tensor([-2147483648], dtype=i32)");
}

TEST_CASE("64-bit integers are compared to the last bit") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = integers({kOdd, INT64_MAX}, device);
  const auto bits = [](const Tensor& result) { return ops::to_vector<int64_t>(result); };
  CHECK(bits(eq(x, kOdd)) == std::vector<int64_t>{1, 0});
  CHECK(bits(eq(x, kOdd - 1)) == std::vector<int64_t>{0, 0});
  CHECK(bits(gt(x, kOdd - 1)) == std::vector<int64_t>{1, 1});
  CHECK(bits(ge(x, INT64_MAX)) == std::vector<int64_t>{0, 1});
  CHECK(bits(eq(x, integers({kOdd - 1, INT64_MAX - 1}, device))) == std::vector<int64_t>{0, 0});
  CHECK(bits(ops::maximum(x, kOdd + 1)) == std::vector<int64_t>{kOdd + 1, INT64_MAX});
  // A number that does not fit an integer tensor can still be compared with its elements.
  const Tensor small = ops::full({1}, 200, {.dtype = kUInt8, .device = device});
  CHECK(bits(lt(small, 300)) == std::vector<int64_t>{1});
  CHECK(bits(gt(small, -1)) == std::vector<int64_t>{1});
  CHECK(bits(eq(small, 200 + 256)) == std::vector<int64_t>{0});
}

TEST_CASE("arange counts 64-bit integers to the last") {
  CHECK(ops::to_vector<int64_t>(ops::arange(kOdd, kOdd + 3)) ==
        std::vector<int64_t>{kOdd, kOdd + 1, kOdd + 2});
  CHECK(ops::to_vector<int64_t>(ops::arange(INT64_MIN, INT64_MAX, INT64_MAX)) ==
        std::vector<int64_t>{INT64_MIN, -1, INT64_MAX - 1});
  CHECK(ops::to_vector<int64_t>(ops::arange(INT64_MAX, INT64_MIN, INT64_MIN)) ==
        std::vector<int64_t>{INT64_MAX, -1});
  CHECK_THROWS_WITH(ops::arange(INT64_MIN, INT64_MAX), Contains("too many elements"));
  CHECK_THROWS_WITH(ops::arange(0, 1e30), Contains("too many elements"));
  CHECK_THROWS_WITH(ops::arange(0, std::nan("")), Contains("not a finite range"));
}

TEST_CASE("scalars convert to C++ numbers that hold them") {
  CHECK(Scalar(kOdd).to<int64_t>() == kOdd);
  CHECK(Scalar(-2.9).to<int>() == -2);
  CHECK(Scalar(2.5).to<bool>());
  CHECK_FALSE(Scalar(0).to<bool>());
  CHECK(Scalar(0.1f).to<float>() == 0.1f);
  CHECK(Scalar(kOdd).to<double>() == 9007199254740992.0);
  CHECK(Scalar(-0x1p63).to_int64() == INT64_MIN);
  CHECK_THROWS_WITH(Scalar(0x1p63).to_int64(), "the number 9.223372036854776e+18 does not fit i64");
  CHECK_THROWS_WITH(Scalar(std::nan("")).to_int64(), "the number nan does not fit i64");
  CHECK_THROWS_WITH(Scalar(int64_t(1) << 40).to<int>(),
                    "the number 1099511627776 does not fit an integer of 32 bits");
  CHECK_THROWS_WITH(Scalar(-1).to<uint8_t>(), Contains("does not fit an integer of 8 bits"));
  CHECK_THROWS_WITH(Scalar(300.5).to<uint8_t>(), Contains("the number 300.5 does not fit"));
  CHECK_THROWS_WITH(Scalar(UINT64_MAX), Contains("does not fit i64"));
  CHECK(Scalar(uint64_t(INT64_MAX)).to_int64() == INT64_MAX);
  CHECK_THROWS_WITH(ops::full({}, INFINITY).item<int>(), Contains("inf does not fit"));
}

TEST_CASE("a number that a dtype does not hold is written into no tensor") {
  const Device device = GENERATE(from_range(test_devices()));
  const double nan = std::nan("");
  struct Case {
    DType dtype;
    Scalar value;
    const char* message;
  };
  const std::vector<Case> cases = {
      {kUInt8, 300, "300 does not fit u8, whose numbers go from 0 to 255"},
      {kUInt8, -1, "-1 does not fit u8"},
      {kUInt8, 256.0, "256 does not fit u8"},
      {kInt32, int64_t(1) << 40, "1099511627776 does not fit i32"},
      {kInt32, -3e9, "-3000000000 does not fit i32"},
      {kInt64, nan, "nan does not fit i64"},
      {kInt64, INFINITY, "inf does not fit i64"},
      {kInt64, 1e19, "1e+19 does not fit i64"},
      {kFloat16, 70000, "70000 does not fit f16"},
      {kBFloat16, 3.4e38, "3.4e+38 does not fit bf16"},
      {kFloat32, -1e300, "-1e+300 does not fit f32"},
  };
  for (const Case& c : cases) {
    INFO(c.message);
    const TensorOptions options{.dtype = c.dtype, .device = device};
    const Tensor x = ops::ones({2}, options);
    CHECK_THROWS_WITH(x.fill_(c.value), Contains(c.message));
    CHECK_THROWS_WITH(ops::full({2}, c.value, options), Contains(c.message));
    CHECK_THROWS_WITH(ops::full_like(x, c.value), Contains(c.message));
    CHECK_THROWS_WITH(pad(x, {1, 1}, c.value), Contains(c.message));
    if (c.value.is_floating_point() && !is_floating_point(c.dtype)) continue;  // these make a float of x
    const Tensor condition = ops::ones({2}, {.dtype = kBool, .device = device});
    CHECK_THROWS_WITH(where(condition, x, c.value), Contains(c.message));
    CHECK_THROWS_WITH(where(condition, c.value, x), Contains(c.message));
    CHECK_THROWS_WITH(ops::maximum(x, c.value), Contains(c.message));
    CHECK_THROWS_WITH(clamp(x, 0, c.value), Contains(c.message));
    CHECK(ops::to_vector<double>(x) == std::vector<double>{1, 1});
  }
  // A number that rounds to one of the dtype's fits. So do infinity and NaN.
  CHECK(ops::full({}, 65519, {.dtype = kFloat16, .device = device}).item() == 65504);
  CHECK(ops::full({}, 3.4028235e38, {.device = device}).item() == double(std::numeric_limits<float>::max()));
  CHECK(std::isinf(ops::full({}, INFINITY, {.dtype = kFloat16, .device = device}).item()));
  CHECK(std::isnan(ops::full({}, nan, {.dtype = kBFloat16, .device = device}).item()));
  CHECK(ops::full({}, -1.9, {.dtype = kInt32, .device = device}).item() == -1);
  CHECK(ops::full({}, 255.9, {.dtype = kUInt8, .device = device}).item() == 255);
  CHECK(ops::full({}, nan, {.dtype = kBool, .device = device}).item<bool>());
  CHECK(ops::full({}, 0.25, {.dtype = kBool, .device = device}).item<bool>());
}

TEST_CASE("ranges whose ends a dtype does not hold are refused") {
  CHECK_THROWS_WITH(ops::arange(0, 300, 1, {.dtype = kUInt8}), Contains("299 does not fit u8"));
  CHECK_THROWS_WITH(ops::arange(-3, 3, 1, {.dtype = kUInt8}), Contains("-3 does not fit u8"));
  CHECK(ops::arange(0, 256, 1, {.dtype = kUInt8}).numel() == 256);
  CHECK_THROWS_WITH(ops::linspace(0, 300, 3, {.dtype = kUInt8}), Contains("linspace: 300 does not fit u8"));
  CHECK_THROWS_WITH(ops::randint(0, 1000, {4}, {.dtype = kUInt8}), Contains("randint_: 999 does not fit u8"));
  CHECK_THROWS_WITH(ops::randint(-1, 10, {4}, {.dtype = kUInt8}), Contains("-1 does not fit u8"));
  CHECK_THROWS_WITH(ops::randint(0, 100'000, {4}, {.dtype = kFloat16}), Contains("99999 does not fit f16"));
  CHECK_THROWS_WITH(ops::randint(0, 5, {4}, {.dtype = kBool}), Contains("bool holds 0 and 1"));
  CHECK(ops::randint(0, 256, {4}, {.dtype = kUInt8}).numel() == 4);
  CHECK(ops::randint(0, 2, {4}, {.dtype = kBool}).numel() == 4);
}

TEST_CASE("integer tensors take the numbers that fit them into arithmetic") {
  const Tensor bytes = ops::full({1}, 3, {.dtype = kUInt8});
  const Tensor ints = ops::full({1}, 3, {.dtype = kInt32});
  CHECK_THROWS_WITH(bytes.add_(300), Contains("add: 300 does not fit a tensor of u8"));
  CHECK_THROWS_WITH(add(bytes, 300), Contains("300 does not fit a tensor of u8"));
  CHECK_THROWS_WITH(sub(1000, bytes), Contains("1000 does not fit a tensor of u8"));
  CHECK_THROWS_WITH(ints.mul_(int64_t(1) << 40), Contains("mul: 1099511627776 does not fit a tensor of i32"));
  CHECK_THROWS_WITH(add(ints, ints, INFINITY), Contains("does not fit i64"));
  CHECK(bytes.item() == 3);
  CHECK(add(bytes, -1).item() == 2);  // u8 wraps around: this is 3 + 255
  CHECK(add(bytes, bytes, -1).item() == 0);
  CHECK(add(ints, INT32_MIN).item<int64_t>() == int64_t(INT32_MIN) + 3);
  CHECK(add(bytes, 300.0).item() == 303);  // a float makes a float of it
}

TEST_CASE("half tensors equal the numbers that they were filled with") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat16, kBFloat16, kFloat32, kFloat64);
  INFO(name(dtype));
  const Tensor x = ops::full({2}, 0.1, {.dtype = dtype, .device = device});
  CHECK(eq(x, 0.1).cpu().data<bool>()[0]);
  CHECK_FALSE(ne(x, 0.1).cpu().data<bool>()[0]);
  CHECK(ge(x, 0.1).cpu().data<bool>()[1]);
  CHECK(le(x, 0.1).cpu().data<bool>()[1]);
  CHECK_FALSE(gt(x, 0.1).cpu().data<bool>()[0]);
  CHECK_FALSE(lt(x, 0.1).cpu().data<bool>()[0]);
  CHECK(lt(x, 1e30).cpu().data<bool>()[0]);
  CHECK(gt(x, -1e30).cpu().data<bool>()[0]);
  // So clamp's gradient passes at a bound that rounds in the dtype.
  Tensor w = ops::full({1}, 0.1, {.dtype = dtype, .device = device});
  w.set_requires_grad();
  clamp(w, 0.1, 0.1).sum().backward();
  CHECK(w.grad().item() == 1);
}
