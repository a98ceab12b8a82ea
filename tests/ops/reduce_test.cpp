// Reductions against a plain loop in f64, over axes, layouts, dtypes and sizes.

#include "taper/ops/reduce/reduce.h"

#include <functional>
#include <limits>
#include <numeric>

#include "taper/core/base/parallel.h"
#include "taper/core/views.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

using namespace taper;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
/// Sizes that the simulated GPU reduces fast enough for many cases, even under its race detector. Long sides
/// have a test of their own.
constexpr int64_t kLargestSimulated = 50'000;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<double> values(const Tensor& x) {
  return ops::to_vector<double>(x);
}

Tensor wavy(const Shape& shape, DType dtype = kFloat64) {
  std::vector<double> data(size_t(numel(shape)));
  for (size_t i = 0; i < data.size(); ++i) data[i] = 3 * std::sin(1.7 * double(i)) + 0.5;
  return ops::cast(from_vector(data, shape), dtype);
}

/// Calls fold on the list of values behind each output, in row-major order of outputs and of reduced axes.
std::vector<double> reduce_plainly(const Tensor& x, const Dims& axes,
                                   const std::function<double(const std::vector<double>&)>& fold) {
  const Dims all = ops::normalize_axes(axes, x.dim(), "test");
  const Shape out_shape = ops::reduced_shape(x.shape(), all, true);
  std::vector<std::vector<double>> groups(size_t(numel(out_shape)));
  const std::vector<double> data = values(x);
  const Strides strides = strides_for(x.shape()), out_strides = strides_for(out_shape);
  for (size_t i = 0; i < data.size(); ++i) {
    int64_t out = 0;
    for (int64_t axis = 0; axis < x.dim(); ++axis) {
      const int64_t index = int64_t(i) / strides[axis] % x.size(axis);
      if (out_shape[axis] != 1) out += index * out_strides[axis];
    }
    groups[size_t(out)].push_back(data[i]);
  }
  std::vector<double> result;
  for (const auto& group : groups) result.push_back(fold(group));
  return result;
}

double mean_of(const std::vector<double>& v) {
  return std::accumulate(v.begin(), v.end(), 0.0) / double(v.size());
}

double variance_of(const std::vector<double>& v) {
  const double mean = mean_of(v);
  double sum = 0;
  for (const double value : v) sum += (value - mean) * (value - mean);
  return sum / double(v.size() - 1);
}

struct Reduction {
  const char* name;
  std::function<Tensor(const Tensor&, const Dims&, bool)> op;
  std::function<double(const std::vector<double>&)> plain;
};

const std::vector<Reduction> kReductions = {
    {"sum", [](auto& x, auto& axes, bool keep) { return ops::sum(x, axes, keep); },
     [](auto& v) { return std::accumulate(v.begin(), v.end(), 0.0); }},
    {"mean", ops::mean, mean_of},
    {"norm", ops::norm,
     [](auto& v) { return std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0)); }},
    {"amax", ops::amax, [](auto& v) { return *std::max_element(v.begin(), v.end()); }},
    {"amin", ops::amin, [](auto& v) { return *std::min_element(v.begin(), v.end()); }},
    {"var", [](auto& x, auto& axes, bool keep) { return ops::var(x, axes, 1, keep); }, variance_of},
    {"std", [](auto& x, auto& axes, bool keep) { return ops::std(x, axes, 1, keep); },
     [](auto& v) { return std::sqrt(variance_of(v)); }},
};

}  // namespace

TEST_CASE("reductions agree with a plain loop over any axes and layout") {
  const Device device = GENERATE(from_range(test_devices()));
  const PoisonedMemory poisoned;
  const std::vector<std::pair<Shape, std::vector<Dims>>> cases = {
      {{}, {{}, {0}, {-1}}},
      {{1}, {{}, {0}}},
      {{13}, {{}, {0}}},
      {{3, 1, 5}, {{0}, {1}, {2}, {0, 2}, {-1, 0}, {}}},
      {{2, 3, 4, 5}, {{0, 2, 3}, {1}, {2, 3}, {0}, {3}, {0, 1}, {1, 3}, {}}},
      {{1031, 3}, {{0}, {1}, {}}},
      {{3, 1031}, {{0}, {1}, {}}},
      {{2, 40'001}, {{0}, {1}, {}}},
      {{2000, 37}, {{0}, {1}}},
      {{5, 1100, 3}, {{0}, {1}, {2}, {0, 2}}},
  };
  for (const Reduction& reduction : kReductions) {
    for (const auto& [shape, axes_list] : cases) {
      if (device.is_cuda() && numel(shape) > kLargestSimulated) continue;
      for (const DType dtype : {kFloat64, kFloat32, kBFloat16}) {
        const Tensor x = wavy(shape, dtype).to(device);
        for (const Dims& axes : axes_list) {
          INFO(reduction.name << " " << name(dtype) << " " << shape.str() << " over " << axes.str());
          const std::vector<double> expected = reduce_plainly(x, axes, reduction.plain);
          const Dims full = ops::normalize_axes(axes, x.dim(), "test");
          for (const bool keepdim : {false, true}) {
            const Tensor y = reduction.op(x, axes, keepdim);
            CHECK(y.shape() == ops::reduced_shape(shape, full, keepdim));
            CHECK(y.dtype() == dtype);
            CHECK(y.is_contiguous());
            // f64 accumulation: the only rounding is the last one.
            check_close(values(y), expected, tolerance(dtype, dtype == kFloat64 ? x.numel() : 1));
          }
          if (x.dim() == 4) {
            const Tensor last = reduction.op(ops::contiguous(x, kChannelsLast), axes, false);
            check_close(values(last), expected, tolerance(dtype, dtype == kFloat64 ? x.numel() : 1));
          }
          if (x.dim() >= 2) {
            const Tensor strided = views::slice(x, 1, 0, INT64_MAX, 2);
            const Tensor y = reduction.op(strided, axes, true);
            check_close(values(y), reduce_plainly(strided, axes, reduction.plain),
                        tolerance(dtype, dtype == kFloat64 ? x.numel() : 1));
          }
        }
      }
    }
  }
}

TEST_CASE("max and min give the first position of the extreme") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const Shape& shape : {Shape{7}, {3, 5}, {5, 3}, {4, 3, 2, 5}, {3, 2500}, {2500, 3}, {2, 40'001}}) {
    if (device.is_cuda() && numel(shape) > kLargestSimulated) continue;
    for (const DType dtype : {kFloat32, kFloat64, kBFloat16, kInt64, kInt32}) {
      // Few distinct values: every extreme occurs more than once.
      const Tensor x = ops::cast(ops::round(wavy(shape)), dtype).to(device);
      for (int64_t axis = 0; axis < x.dim(); ++axis) {
        INFO(name(dtype) << " " << shape.str() << " axis " << axis);
        const auto first_max = [](const std::vector<double>& v) {
          return double(std::max_element(v.begin(), v.end()) - v.begin());
        };
        const auto first_min = [](const std::vector<double>& v) {
          return double(std::min_element(v.begin(), v.end()) - v.begin());
        };
        const auto largest = ops::max(x, axis);
        CHECK(values(largest.values) == values(ops::amax(x, {axis})));
        REQUIRE(values(largest.indices) == reduce_plainly(x, {axis}, first_max));
        const auto smallest = ops::min(x, axis, true);
        CHECK(smallest.values.dim() == x.dim());
        CHECK(values(smallest.values) == values(ops::amin(x, {axis})));
        REQUIRE(values(smallest.indices) == reduce_plainly(x, {axis}, first_min));
        CHECK(values(ops::argmax(x, axis)) == values(largest.indices));
        CHECK(values(ops::argmin(x, axis - x.dim())) == values(smallest.indices));
        if (x.dim() == 4) {
          CHECK(values(ops::argmax(ops::contiguous(x, kChannelsLast), axis)) == values(largest.indices));
        }
      }
    }
  }
}

TEST_CASE("NaN, infinity and empty tensors") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = from_vector<float>({1, NAN, 3, NAN, -INFINITY, 2}, {2, 3}).to(device);
  check_close(values(ops::amax(x, {1})), {kNaN, kNaN}, 0);
  check_close(values(ops::amin(x, {0})), {kNaN, kNaN, 2}, 0);
  CHECK(values(ops::argmax(x, 1)) == std::vector<double>{1, 0});
  CHECK(values(ops::argmin(x, 0)) == std::vector<double>{1, 0, 1});
  check_close(values(ops::sum(x, {0})), {kNaN, kNaN, 5}, 0);
  const Tensor low = ops::full({2, 3}, -kInfinity, {.device = device});
  CHECK(values(ops::max(low, 1).values) == std::vector<double>{-kInfinity, -kInfinity});
  CHECK(values(ops::argmax(low, 1)) == std::vector<double>{0, 0});

  const Tensor empty_rows = ops::zeros({2, 0}, {.device = device});
  CHECK(values(ops::sum(empty_rows, {1})) == std::vector<double>{0, 0});
  CHECK(ops::sum(empty_rows, {0}).shape() == Shape{0});
  check_close(values(ops::mean(empty_rows, {1})), {kNaN, kNaN}, 0);
  CHECK(values(ops::any(empty_rows, {1})) == std::vector<double>{0, 0});
  CHECK(values(ops::all(empty_rows, {1})) == std::vector<double>{1, 1});
  CHECK(ops::amax(empty_rows, {0}, true).shape() == Shape{1, 0});
  check_close(values(ops::var(ops::ones({2, 1}, {.device = device}), {1})), {kNaN, kNaN}, 0);
}

TEST_CASE("integers and bool") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = from_vector<uint8_t>({200, 100, 0, 50}, {2, 2}).to(device);
  CHECK(ops::sum(x).dtype() == kInt64);
  CHECK(values(ops::sum(x, {1})) == std::vector<double>{300, 50});
  CHECK(ops::amax(x).dtype() == kUInt8);
  CHECK(values(ops::sum(ops::gt(x.to(Device("cpu")), 60).to(device))) == std::vector<double>{2});
  CHECK(values(ops::any(x, {1})) == std::vector<double>{1, 1});
  CHECK(values(ops::all(x, {1})) == std::vector<double>{1, 0});
  const int64_t big = (int64_t(1) << 60) + 1;
  CHECK(ops::to_vector<int64_t>(ops::sum(from_vector<int64_t>({big, -big, 3}).to(device))) ==
        std::vector<int64_t>{3});
}

TEST_CASE("f32 sums keep their digits") {
  // One large value among many small ones: f32 accumulation would lose them all.
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = ops::ones({100'001}, {.device = device});
  ops::fill_(views::select(x, 0, 0), 1 << 25);
  CHECK(ops::item(ops::sum(x)) == double((1 << 25) + 100'000));
  // Variance around a mean of 10^4 standard deviations.
  const Tensor shifted = ops::add(ops::mul(wavy({4099}), 1e-3), 10);
  check_close(ops::var(ops::cast(shifted, kFloat32)),
              ops::var(ops::cast(ops::cast(shifted, kFloat32), kFloat64)), 1e-5);
}

TEST_CASE("sums of half types in f32 are rounded to f32 only") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat16, kBFloat16);
  const PoisonedMemory poisoned;
  for (const Shape& shape :
       {Shape{1031, 3}, Shape{3, 1031}, Shape{2, 3, 4, 5}, Shape{2, 20'001}, Shape{0, 3}}) {
    const Tensor x = wavy(shape, dtype).to(device);
    for (int64_t axis = 0; axis < x.dim(); ++axis) {
      INFO(name(dtype) << " " << shape.str() << " over " << axis << " on " << device.str());
      const Tensor total = ops::sum(x, {axis}, false, kFloat32);
      CHECK(total.dtype() == kFloat32);
      const auto plain = [](auto& v) { return std::accumulate(v.begin(), v.end(), 0.0); };
      check_close(values(total), reduce_plainly(x, {axis}, plain), tolerance(kFloat32));
      check_close(ops::cast(total, dtype), ops::sum(x, {axis}), 0);
    }
  }
}

TEST_CASE("reductions do not depend on the number of threads") {
  const Tensor x = wavy({300, 1031}, kFloat32);
  const int before = num_threads();
  std::vector<std::vector<double>> results;
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    results.push_back(values(ops::sum(x, {0})));
    const auto rows = values(ops::mean(x, {1})), all = values(ops::norm(x));
    results.back().insert(results.back().end(), rows.begin(), rows.end());
    results.back().insert(results.back().end(), all.begin(), all.end());
  }
  set_num_threads(before);
  CHECK(results[0] == results[1]);
  CHECK(results[0] == results[2]);
}

TEST_CASE("topk orders values, ties by position, NaN as largest") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = from_vector<float>({3, 1, 3, 2, NAN, 0}, {6}).to(device);
  const auto best = ops::topk(x, 4);
  check_close(values(best.values), {kNaN, 3, 3, 2}, 0);
  CHECK(values(best.indices) == std::vector<double>{4, 0, 2, 3});
  const auto worst = ops::topk(x, 3, 0, false);
  CHECK(values(worst.indices) == std::vector<double>{5, 1, 3});
  const Tensor table = wavy({5, 4, 3}, kBFloat16).to(device);
  for (int64_t axis = 0; axis < 3; ++axis) {
    const auto top = ops::topk(table, 2, axis);
    CHECK(top.values.size(axis) == 2);
    CHECK(values(views::select(top.indices, axis, 0)) == values(ops::argmax(table, axis)));
    CHECK(values(views::select(top.values, axis, 0)) == values(ops::amax(table, {axis})));
  }
  CHECK(ops::topk(x, 0).values.shape() == Shape{0});
}

TEST_CASE("reductions on the GPU cut long sides into pieces, and repeat to the bit") {
  if (gpu::device_count() == 0) return;
  const Device device("cuda");
  // Odd sizes: rows that begin off 16-byte boundaries, columns that cannot be read in fours, short last
  // pieces. Then sizes that can be read in packs.
  for (const Shape& shape : {Shape{30'011}, {3, 10'007}, {10'007, 3}, {1500, 20}, {8, 4096}, {33, 7, 11}}) {
    for (const DType dtype : {kFloat16, kInt32, kUInt8}) {
      const Tensor host = ops::cast(ops::mul(ops::abs(wavy(shape)), 20), dtype), x = host.to(device);
      for (int64_t axis = 0; axis < x.dim(); ++axis) {
        INFO(name(dtype) << " " << shape.str() << " axis " << axis);
        check_close(ops::sum(x, {axis}), ops::sum(host, {axis}), tolerance(dtype));
        CHECK(values(ops::sum(x, {axis})) == values(ops::sum(x, {axis})));
        const auto best = ops::max(x, axis), expected = ops::max(host, axis);
        CHECK(values(best.values) == values(expected.values));
        CHECK(values(best.indices) == values(expected.indices));
        CHECK(values(ops::any(x, {axis})) == values(ops::any(host, {axis})));
        CHECK(values(ops::all(x, {axis})) == values(ops::all(host, {axis})));
      }
      const Tensor late = views::narrow(x, 0, 1, x.size(0) - 1);  // off every boundary
      check_close(ops::sum(late), ops::sum(views::narrow(host, 0, 1, x.size(0) - 1)), tolerance(dtype));
    }
  }
}

TEST_CASE("sum_to undoes broadcasting") {
  const Tensor x = wavy({2, 3, 4});
  CHECK(ops::sum_to(x, {2, 3, 4}).is_same(x));
  for (const Shape& shape : {Shape{3, 4}, {1, 3, 1}, {4}, {1}, {}, {2, 1, 4}}) {
    const Tensor y = ops::sum_to(x, shape);
    CHECK(y.shape() == shape);
    // <expand(u), x> == <u, sum_to(x)>
    const Tensor u = wavy(shape);
    check_close(ops::sum(ops::mul(views::expand(u, x.shape()), x)), ops::sum(ops::mul(u, y)), 1e-12);
  }
  CHECK_THROWS_WITH(ops::sum_to(x, {5}), Catch::Contains("sum_to"));
  CHECK_THROWS_WITH(ops::sum_to(ops::ones({4}), {2, 4}), "sum_to: shape [2, 4] does not broadcast to [4]");
}

TEST_CASE("reductions refuse bad arguments in one line") {
  const Tensor x = ops::ones({2, 3});
  CHECK_THROWS_WITH(ops::sum(x, {2}), "sum: axis 2 is out of range for a tensor of 2 dimensions");
  CHECK_THROWS_WITH(ops::sum(x, {0, -2}), "sum: axis -2 is given twice in [0, -2]");
  CHECK_THROWS_WITH(ops::mean(ops::arange(3)),
                    "mean: needs a floating-point tensor, got i64 of shape [3]; convert with .to(kFloat32)");
  CHECK_THROWS_WITH(ops::max(ops::zeros({2, 0}), 1),
                    "max: axis 1 of shape [2, 0] has no elements to choose from");
  CHECK_THROWS_WITH(ops::amin(ops::zeros({0})), Catch::Contains("no elements to choose from"));
  CHECK_THROWS_WITH(ops::topk(x, 4), "topk: k = 4 is not between 0 and 3, the size of axis 1 of [2, 3]");
  CHECK_THROWS_WITH(ops::sum(Tensor()), "sum: the input is an undefined tensor");
  CHECK_THROWS_WITH(ops::sum(ops::arange(3), {}, false, kFloat32),
                    "sum: the result can be i64, not f32; convert it with .to()");
}
