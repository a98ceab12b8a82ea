// Whether a result can be right: the CPU and the GPU judge alike.

#include "taper/ops/algorithms/algorithm_compare.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "taper/ops/copy/copy.h"
#include "test_tensors.h"

using namespace taper;

namespace {

const DType kFloats[] = {kFloat32, kFloat64, kFloat16, kBFloat16};

/// Returns half of the digits of `dtype`, as an error relative to an element and the root mean square.
double allowed(DType dtype) {
  const int digits = dtype == kFloat64 ? 52 : dtype == kFloat32 ? 23 : dtype == kFloat16 ? 10 : 7;
  return std::sqrt(std::ldexp(1., -digits));
}

/// Ones, except that element `place` is `value`.
Tensor ones_but(int64_t count, int64_t place, double value, DType dtype, Device device) {
  std::vector<double> values(size_t(count), 1);
  values[size_t(place)] = value;
  return ops::cast(from_vector(values), dtype).to(device);
}

std::string judge(const Tensor& actual, const Tensor& expected, double epsilon = 0) {
  return detail::difference(actual, expected, epsilon, "reference");
}

}  // namespace

TEST_CASE("a result may differ from the reference's by half of its digits, wherever it does") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const DType dtype : kFloats) {
    for (const int64_t count : {1, 255, 257, 1 << 19}) {
      if (count > 257 && dtype != kFloat32) continue;  // longer than one pass of the GPU's largest grid
      const Tensor ones = ones_but(count, 0, 1, dtype, device);
      CHECK(judge(ones, ones).empty());
      for (const int64_t place : {int64_t(0), count / 2, count - 1}) {
        INFO(name(dtype) << ", element " << place << " of " << count << " on " << device.str());
        // Elements and root mean square are 1, so the relative error is half of the difference.
        CHECK(judge(ones_but(count, place, 1 + 1.6 * allowed(dtype), dtype, device), ones).empty());
        const Tensor wrong = ones_but(count, place, 1 + 2.6 * allowed(dtype), dtype, device);
        CHECK_THAT(judge(wrong, ones),
                   Catch::Contains("relative error") && Catch::Contains("against reference"));
        CHECK(judge(wrong, ones, 4 * allowed(dtype) * allowed(dtype)).empty());  // it said that it rounds
      }
    }
  }
}

TEST_CASE("what is NaN must be NaN, and infinities count as what they are") {
  const Device device = GENERATE(from_range(test_devices()));
  const double nan = std::nan(""), infinity = INFINITY;
  for (const DType dtype : kFloats) {
    INFO(name(dtype) << " on " << device.str());
    const auto with = [&](double value) { return ones_but(300, 299, value, dtype, device); };
    CHECK(judge(with(nan), with(nan)).empty());
    CHECK_FALSE(judge(with(nan), with(1)).empty());
    CHECK_FALSE(judge(with(1), with(nan)).empty());
    CHECK(judge(with(infinity), with(infinity)).empty());
    CHECK_FALSE(judge(with(infinity), with(1)).empty());
    CHECK_FALSE(judge(with(1), with(infinity)).empty());
    CHECK_FALSE(judge(with(-infinity), with(infinity)).empty());
  }
}

TEST_CASE("integers are equal or wrong; of bits one in a thousand may differ") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const DType dtype : {kInt64, kInt32, kBool}) {
    CHECK(judge(ones_but(70, 69, 0, dtype, device), ones_but(70, 69, 0, dtype, device)).empty());
    CHECK_FALSE(judge(ones_but(70, 69, 0, dtype, device), ones_but(70, 69, 1, dtype, device)).empty());
  }
  const Tensor ones = ones_but(1000, 0, 1, kUInt8, device);
  CHECK(judge(ones_but(1000, 500, 0xFE, kUInt8, device), ones).empty());  // all 8 bits of one byte
  Tensor nine = ops::cast(ones, kInt64).to(Device("cpu"));
  nine.data<int64_t>()[0] = 0xFE;
  nine.data<int64_t>()[999] = 0;
  CHECK(judge(ops::cast(nine, kUInt8).to(device), ones) ==
        "wrong result: 0.0011 of the bits differ from reference's, allowed 0.001");
}

TEST_CASE("nothing is right") {
  for (const Device device : test_devices())
    CHECK(judge(empty({0}, {.device = device}), empty({0}, {.device = device})).empty());
}
