// Random fills: the defined stream of numbers, their distribution, and independence of layout and threads.

#include "taper/ops/random/random.h"

#include <functional>
#include <numeric>

#include "taper/autograd/derivatives/random.h"
#include "taper/core/base/parallel.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/views.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/reduce/reduce.h"
#include "tests/support/tolerance.h"

using namespace taper;

namespace {

std::vector<double> values(const Tensor& x) {
  return ops::to_vector<double>(x);
}

}  // namespace

TEST_CASE("element i comes from counter start + i/4, lane i%4") {
  Generator generator(42);
  generator.reserve(7);
  const Tensor x = ops::rand({3, 5}, {}, generator);
  CHECK(generator.state() == GeneratorState{42, 7 + 4});
  const Philox philox{42};
  const std::vector<double> drawn = values(x);
  for (size_t i = 0; i < drawn.size(); ++i) {
    CHECK(drawn[i] == double(uniform_float(philox(7 + i / 4)[i % 4])));
  }
  const Tensor wide = ops::rand({5}, {.dtype = kFloat64}, generator);
  CHECK(generator.state().counter == 7 + 4 + 3);
  for (size_t i = 0; i < 5; ++i) {
    const auto bits = philox(11 + i / 2);
    CHECK(values(wide)[i] == uniform_double(bits[i % 2 * 2], bits[i % 2 * 2 + 1]));
  }
}

TEST_CASE("numbers do not depend on layout or threads") {
  const int before = num_threads();
  for (const DType dtype : {kFloat32, kFloat64, kBFloat16, kFloat16}) {
    std::vector<std::vector<double>> results;
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      for (const MemoryFormat format : {kContiguous, kChannelsLast}) {
        Generator generator(3);
        const TensorOptions options = {.dtype = dtype, .memory_format = format};
        const Tensor x = ops::randn({3, 40, 31, 29}, options, generator);
        ops::uniform_(views::slice(x, 1, 1, 40, 3), -1, 1, generator);
        results.push_back(values(x));
        const auto dropped = ops::dropout(x, 0.5, generator);
        CHECK(dropped.y.strides() == x.strides());
        const auto kept = values(dropped.mask);
        results.back().insert(results.back().end(), kept.begin(), kept.end());
      }
    }
    for (const auto& other : results) CHECK(other == results[0]);
  }
  set_num_threads(before);
}

TEST_CASE("moments and range of the distributions") {
  Generator generator(1);
  const int64_t count = 200'000;
  for (const DType dtype : {kFloat32, kFloat64, kFloat16, kBFloat16}) {
    INFO(name(dtype));
    // Five standard errors, and the rounding of half types.
    const double error = 5 / std::sqrt(double(count)) + epsilon(dtype);
    const Tensor normal = ops::cast(ops::randn({count}, {.dtype = dtype}, generator), kFloat64);
    CHECK(std::fabs(ops::item(ops::mean(normal))) < error);
    CHECK(std::fabs(ops::item(ops::var(normal)) - 1) < 2 * error);
    CHECK(std::fabs(ops::item(ops::mean(ops::pow(normal, 3)))) < 4 * error);
    CHECK(std::fabs(ops::item(ops::mean(ops::pow(normal, 4))) - 3) < 10 * error);
    // Neighbours, which share a transform, are independent.
    const Tensor pairs = views::view(normal, {count / 2, 2});
    const Tensor product = ops::mul(views::select(pairs, 1, 0), views::select(pairs, 1, 1));
    CHECK(std::fabs(ops::item(ops::mean(product))) < 2 * error);

    const Tensor x = ops::zeros({count}, {.dtype = dtype});
    ops::uniform_(x, -2, 6, generator);
    CHECK(ops::item(ops::amin(x)) >= -2);
    CHECK(ops::item(ops::amax(x)) <= 6);
    CHECK(std::fabs(ops::item(ops::mean(ops::cast(x, kFloat64))) - 2) < 8 * error);
    CHECK(std::fabs(ops::item(ops::var(ops::cast(x, kFloat64))) - 64.0 / 12) < 16 * error);
    ops::normal_(x, 10, 0, generator);
    CHECK(ops::item(ops::amin(x)) == 10);
    CHECK(ops::item(ops::amax(x)) == 10);
  }
  for (const double p : {0.0, 0.25, 1.0}) {
    for (const DType dtype : {kFloat32, kBool, kInt64}) {
      const Tensor x = ops::ones({count}, {.dtype = dtype});
      ops::bernoulli_(x, p, generator);
      const double mean = ops::item(ops::mean(ops::cast(x, kFloat64)));
      CHECK(std::fabs(mean - p) <= 5 * std::sqrt(p * (1 - p) / double(count)));
    }
  }
}

TEST_CASE("randint covers its range evenly") {
  Generator generator(9);
  const std::vector<int64_t> drawn =
      ops::to_vector<int64_t>(ops::randint(-3, 4, {70'000}, {.dtype = kInt32}, generator));
  std::vector<int> counts(7);
  for (const int64_t value : drawn) {
    REQUIRE((value >= -3 && value < 4));
    ++counts[size_t(value + 3)];
  }
  for (const int seen : counts) CHECK(std::abs(seen - 10'000) < 500);
  const Tensor wide = ops::randint(INT64_MIN, INT64_MAX, {1000}, {.dtype = kInt64}, generator);
  const double mean = ops::item(ops::mean(ops::cast(wide, kFloat64)));
  CHECK(std::fabs(mean) < 5 * std::ldexp(1, 63) / std::sqrt(3000.0));
  CHECK(ops::randint(0, 2, {4}).dtype() == kInt64);
}

TEST_CASE("randperm is a permutation that every seed draws differently") {
  for (const int64_t count : {0, 1, 2, 5, 1000}) {
    Generator generator(4);
    std::vector<int64_t> order = ops::to_vector<int64_t>(ops::randperm(count, generator));
    Generator other(5);
    if (count == 1000) CHECK(order != ops::to_vector<int64_t>(ops::randperm(count, other)));
    std::sort(order.begin(), order.end());
    std::vector<int64_t> all(order.size());
    std::iota(all.begin(), all.end(), 0);
    CHECK(order == all);
  }
  // Each of the 6 orders of 3 things is as likely.
  Generator generator(6);
  std::vector<int> seen(27);
  for (int i = 0; i < 6000; ++i) {
    const auto order = ops::to_vector<int64_t>(ops::randperm(3, generator));
    ++seen[size_t(order[0] * 9 + order[1] * 3 + order[2])];
  }
  int orders = 0;
  for (const int times : seen) {
    if (times == 0) continue;
    ++orders;
    CHECK(std::abs(times - 1000) < 150);
  }
  CHECK(orders == 6);
}

TEST_CASE("dropout keeps the expectation") {
  Generator generator(8);
  const Tensor x = ops::full({100'000}, 2);
  const auto [y, mask] = ops::dropout(x, 0.3, generator);
  CHECK(mask.dtype() == kBool);
  CHECK(values(y) == values(ops::where(mask, ops::full({}, 2 / 0.7), 0)));
  CHECK(std::fabs(ops::item(ops::mean(y)) - 2) < 0.02);
  CHECK(values(ops::dropout(x, 0, generator).y) == values(x));
  CHECK(ops::item(ops::sum(ops::dropout(x, 1, generator).y)) == 0);
}

TEST_CASE("the GPU draws the CPU's numbers") {
  const Device gpu("cuda");
  const auto both = [&](const auto& draw) {
    Generator on_cpu(11), on_gpu(11);
    const Tensor expected = draw(kCPU, on_cpu), actual = draw(gpu, on_gpu);
    CHECK(on_cpu.state() == on_gpu.state());
    CHECK(actual.device() == gpu);
    return std::pair(values(actual), values(expected));
  };
  for (const Shape& shape : {Shape{}, {0}, {1}, {7}, {2, 3, 40}, {5000}}) {
    for (const DType dtype : {kFloat32, kFloat64, kFloat16, kBFloat16}) {
      INFO(name(dtype) << " " << shape.str());
      const auto [u, u_cpu] = both([&](Device device, Generator& generator) {
        return ops::rand(shape, {.dtype = dtype, .device = device}, generator);
      });
      CHECK(u == u_cpu);
      const auto [n, n_cpu] = both([&](Device device, Generator& generator) {
        return ops::randn(shape, {.dtype = dtype, .device = device}, generator);
      });
      check_close(n, n_cpu, tolerance(dtype), 1);
      const auto [d, d_cpu] = both([&](Device device, Generator& generator) {
        const Tensor x = ops::rand(shape, {.dtype = dtype}, generator);
        const auto [y, mask] = ops::dropout(ops::to_device(x, device), 0.3, generator);
        return ops::add(y, mask, 2);
      });
      CHECK(d == d_cpu);
    }
    for (const DType dtype : {kFloat32, kBFloat16, kBool, kInt64, kInt32, kUInt8}) {
      INFO(name(dtype) << " " << shape.str());
      const auto [b, b_cpu] = both([&](Device device, Generator& generator) {
        const Tensor x = empty(shape, {.dtype = dtype, .device = device});
        ops::bernoulli_(x, 0.3, generator);
        return x;
      });
      CHECK(b == b_cpu);
      const auto [r, r_cpu] = both([&](Device device, Generator& generator) {
        const auto [low, high] = dtype == kBool ? std::pair(0, 2) : std::pair(3, 100);
        return ops::randint(low, high, shape, {.dtype = dtype, .device = device}, generator);
      });
      CHECK(r == r_cpu);
    }
    const auto [w, w_cpu] = both([&](Device device, Generator& generator) {
      return ops::randint(INT64_MIN, INT64_MAX, shape, {.dtype = kInt64, .device = device}, generator);
    });
    CHECK(w == w_cpu);
  }
  // Other layouts, misaligned rows, and dropout of a transposed tensor.
  const auto [v, v_cpu] = both([&](Device device, Generator& generator) {
    const Tensor x = ops::zeros({3, 8, 5, 7}, {.device = device, .memory_format = kChannelsLast});
    ops::uniform_(views::slice(x, 1, 1, 8, 3), -1, 1, generator);
    ops::bernoulli_(views::narrow(views::select(x, 0, 1), 0, 3, 2), 0.5, generator);
    const Tensor row = ops::zeros({41}, {.device = device});
    ops::normal_(views::narrow(row, 0, 1, 40), 2, 3, generator);
    return ops::add(ops::dropout(x, 0.5, generator).y, views::select(row, 0, 7));
  });
  check_close(v, v_cpu, tolerance(kFloat32), 1);
}

TEST_CASE("random functions refuse bad arguments in one line") {
  const Tensor x = ops::ones({3}), integers = ops::arange(3);
  CHECK_THROWS_WITH(ops::uniform_(x, 1, 0), "uniform_: needs low <= high, got 1 and 0");
  CHECK_THROWS_WITH(ops::normal_(x, 0, -1), Catch::Contains("must not be negative"));
  CHECK_THROWS_WITH(ops::normal_(integers),
                    Catch::Contains("normal_: needs a floating-point tensor, got i64"));
  CHECK_THROWS_WITH(ops::bernoulli_(x, 1.5), "bernoulli_: p must be between 0 and 1, got 1.5");
  CHECK_THROWS_WITH(ops::randint(2, 2, {1}), Catch::Contains("needs low < high"));
  CHECK_THROWS_WITH(ops::dropout(x, -0.1), "dropout: p must be between 0 and 1, got -0.1");
  CHECK_THROWS_WITH(ops::uniform_(views::expand(x, {2, 3})), Catch::Contains("share memory"));
}

TEST_CASE("a graph cannot capture a draw: every replay would repeat it") {
  if (gpu::device_count() == 0) return;
  const Tensor x = empty({4, 6}, {.device = kCUDA});
  Generator generator(1);
  const gpu::Stream stream = gpu::stream_from_pool();
  gpu::synchronize();  // x is there for other streams
  {
    const gpu::StreamGuard guard(stream);
    gpu::begin_capture(stream);
    const auto refuses = [](const std::string& op, const std::function<void()>& draw) {
      CHECK_THROWS_WITH(draw(), Catch::StartsWith(op + ": random numbers cannot be drawn on a GPU while") &&
                                    Catch::Contains("captures a graph") &&
                                    Catch::Contains("before the capture") &&
                                    Catch::Contains("dropout with p = 0"));
    };
    refuses("uniform_", [&] { ops::uniform_(x, 0, 1, generator); });
    refuses("normal_", [&] { ops::normal_(x, 0, 1, generator); });
    refuses("bernoulli_", [&] { ops::bernoulli_(x, 0.5, generator); });
    refuses("randint_", [&] { ops::randint_(x, 0, 9, generator); });
    refuses("uniform_", [&] { ops::rand({3}, {.device = kCUDA}, generator); });
    refuses("dropout", [&] { ops::dropout(x, 0.5, generator); });
    refuses("bernoulli_", [&] { ops::dropout(views::transpose(x, 0, 1), 0.5, generator); });
    refuses("dropout", [&] { dropout(x, 0.5, /*training=*/true, generator); });
    CHECK_NOTHROW(dropout(x, 0.5, /*training=*/false, generator));
    CHECK(generator.state() == GeneratorState{1, 0});
    CHECK_NOTHROW(ops::rand({3}, {}, generator));  // on the CPU
    gpu::end_capture(stream);
    CHECK_NOTHROW(ops::dropout(x, 0.5, generator));
  }
  CHECK(generator.state().counter == 1 + 6);
  gpu::begin_capture(stream);  // while another stream is current
  CHECK_NOTHROW(ops::uniform_(x, 0, 1, generator));
  gpu::end_capture(stream);
}
