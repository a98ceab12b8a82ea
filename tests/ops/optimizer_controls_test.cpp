// Loss scale, counts of updates and learning rates, where updates read them.

#include <catch2/catch.hpp>
#include <limits>

#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/optimizer/controls.h"
#include "taper/ops/optimizer/optimizer.h"
#include "test_tensors.h"

using namespace taper;
using Catch::Contains;

namespace {

Tensor number(double value, DType dtype, Device device) {
  return ops::full({}, value, {.dtype = dtype, .device = device});
}

Tensor flag(double value, Device device) {
  return ops::full({1}, value, {.device = device});
}

}  // namespace

TEST_CASE("update_scale_ lowers the scale after an overflow and raises it after an interval without") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor scale = number(8, kFloat32, device), tracker = number(0, kInt32, device);
  const auto update = [&](double found) {
    ops::update_scale_(scale, tracker, flag(found, device), 4, 0.25, 3);
    return std::pair(ops::item(scale), ops::item(tracker));
  };
  CHECK(update(0) == std::pair(8.0, 1.0));
  CHECK(update(0) == std::pair(8.0, 2.0));
  CHECK(update(0) == std::pair(32.0, 0.0));
  CHECK(update(0) == std::pair(32.0, 1.0));
  CHECK(update(1) == std::pair(8.0, 0.0));
  CHECK(update(2) == std::pair(2.0, 0.0));  // two optimisers found one

  // A scale never grows to infinity. The product is rounded once.
  const float largest = std::numeric_limits<float>::max();
  for (const auto& [before, factor, after] :
       {std::tuple{largest, 2.0, largest}, {largest / 2, 2.0, largest}, {3.0f, 1.1, float(3 * 1.1)}}) {
    const Tensor x = number(before, kFloat32, device);
    ops::update_scale_(x, number(0, kInt32, device), flag(0, device), factor, 0.5, 1);
    CHECK(ops::item(x) == after);
  }
}

TEST_CASE("count_update_ counts what is not skipped, and choose_ takes the value for the number counted") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor count = number(5, kFloat64, device);
  ops::count_update_(count);
  ops::count_update_(count, flag(0, device));
  ops::count_update_(count, flag(1, device));
  ops::count_update_(count, flag(-1, device));
  CHECK(ops::item(count) == 7);
  const auto chosen = [&](const std::vector<double>& values, const std::vector<Tensor>& flags) {
    ops::choose_(count, values, flags);
    return ops::item(count);
  };
  const Tensor yes = flag(1, device), no = flag(0, device);
  CHECK(chosen({0.1}, {}) == 0.1);
  CHECK(chosen({0.1, 0.2}, {yes}) == 0.1);
  CHECK(chosen({0.1, 0.2}, {no}) == 0.2);
  CHECK(chosen({0.1, 0.2, 0.3}, {yes, yes}) == 0.1);
  CHECK(chosen({0.1, 0.2, 0.3}, {yes, no}) == 0.2);
  CHECK(chosen({0.1, 0.2, 0.3}, {no, no}) == 0.3);
}

TEST_CASE("ema_update copies at first, and leaves the average of a skipped update alone") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const DType dtype : {kFloat32, kFloat64, kFloat16}) {
    const Tensor average = number(2, dtype, device), param = number(4, dtype, device);
    const auto updated = [&](double step, double skip) {
      ops::ema_update({average}, {param}, 0.5,
                      {.step = number(step, kFloat64, device), .skip = flag(skip, device)});
      return ops::item(average);
    };
    CHECK(updated(2, 0) == 3);
    CHECK(updated(1, 1) == 3);
    CHECK(updated(2, 1) == 3);
    ops::fill_(average, std::numeric_limits<double>::quiet_NaN());
    CHECK(updated(1, 0) == 4);
  }
}

TEST_CASE("the controls of updates refuse other dtypes, sizes and devices") {
  const Tensor f32 = ops::ones({}), f64 = number(1, kFloat64, kCPU), i32 = number(1, kInt32, kCPU);
  const auto scaled = [](const Tensor& scale, const Tensor& tracker, const Tensor& found) {
    ops::update_scale_(scale, tracker, found, 2, 0.5, 2000);
  };
  CHECK_THROWS_WITH(scaled(f64, i32, f32), Contains("update_scale_: scale must be one f32 number on cpu"));
  CHECK_THROWS_WITH(scaled(f32, f32, f32), Contains("growth_tracker must be one i32 number"));
  CHECK_THROWS_WITH(scaled(f32, i32, ops::ones({2})), Contains("found_inf must be one f32 number on cpu, got "
                                                               "f32 of shape [2]"));
  CHECK_THROWS_WITH(scaled(f32, i32, {}), Contains("found_inf"));
  CHECK_THROWS_WITH(ops::count_update_(f32), Contains("count_update_: count must be one f64 number"));
  CHECK_THROWS_WITH(ops::count_update_(f64, f64), Contains("skip must be one f32 number"));
  CHECK_THROWS_WITH(ops::choose_(f64, {1}, {f32}), Contains("choose_: 1 values for 1 flags"));
  CHECK_THROWS_WITH(ops::choose_(f64, {1, 2, 3, 4}, {f32, f32, f32}), Contains("which may be 2"));
  CHECK_THROWS_WITH(ops::choose_(f64, {1, 2}, {f64}), Contains("flag must be one f32 number"));
}
