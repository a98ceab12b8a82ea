// Softmax along any axis of any layout, and its derivatives.

#include "taper/autograd/derivatives/softmax.h"

#include "gpu_derivatives.h"
#include "oracle_cases.h"
#include "taper/autograd/gradcheck.h"
#include "taper/autograd/tape/engine.h"
#include "taper/core/views.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/reduce/reduce.h"
#include "taper/ops/softmax/softmax.h"
#include "test_tensors.h"
#include "tolerance.h"

using namespace taper;

namespace {

using Softmax = Tensor (*)(const Tensor&, int64_t);

struct Named {
  const char* name;
  Softmax function;
};
const Named kBoth[] = {{"softmax", softmax}, {"log_softmax", log_softmax}};

}  // namespace

TEST_CASE("softmax and its gradient agree with PyTorch", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const OracleCase& c : oracle_cases("softmax")) {
    INFO(c.name);
    const Tensor x = ops::clone(c["x"]).to(device).set_requires_grad();
    const Tensor y = (c.op == "softmax" ? softmax : log_softmax)(x, int64_t(c.number("axis")));
    check_close(y, c["y"]);
    CHECK(y.dtype() == x.dtype());
    const int64_t terms = x.dim() == 0 ? 1 : x.size(int64_t(c.number("axis")));
    // The terms that cancel in the gradient are as large as probabilities and as the incoming gradient: 1.
    check_close(grad({y}, {x}, {oracle_gradient(y).to(device)})[0], c["grad_x"], tolerance(x.dtype(), terms),
                1);
  }
}

TEST_CASE("softmax of any layout equals softmax of its row-major copy and keeps the layout") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = random_tensor({3, 4, 5, 6}, kFloat32, 1, 5).to(device);
  // The CPU adds in f64, where the order of the terms does not show.
  const double allowed = device.is_cpu() ? 0 : tolerance(kFloat32, 6);
  for (const auto& [name, function] : kBoth) {
    for (int64_t axis = -4; axis < 4; ++axis) {
      INFO(name << " axis " << axis);
      const Tensor expected = function(x, axis);
      CHECK(expected.is_contiguous());
      const Tensor nhwc = function(ops::contiguous(x, kChannelsLast), axis);
      CHECK(nhwc.is_contiguous(kChannelsLast));
      check_close(nhwc, expected, allowed);

      const Dims order{2, 0, 3, 1}, back{1, 3, 0, 2};
      const Tensor permuted = views::permute(ops::contiguous(views::permute(x, order)), back);
      REQUIRE(!permuted.is_contiguous());
      const Tensor kept = function(permuted, axis);
      CHECK(kept.strides() == permuted.strides());
      check_close(kept, expected, allowed);

      const Tensor gaps = views::slice(random_tensor({3, 4, 10, 6}, kFloat32, 1, 5).to(device), 2, 0, 10, 2);
      check_close(function(gaps, axis), function(ops::contiguous(gaps), axis), 0);
    }
  }
}

TEST_CASE("softmax sums to one, does not see a shift, and log_softmax is its logarithm") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const DType dtype : {kFloat64, kFloat32, kFloat16, kBFloat16}) {
    for (const int64_t size : {1, 2, 129, 4001}) {
      INFO(name(dtype) << " " << size);
      const Tensor x = random_tensor({5, size}, dtype, 1, 6).to(device);
      const Tensor y = ops::cast(softmax(x, 1), kFloat64);
      // Each of `size` results was rounded once.
      check_close(ops::sum(y, {1}), ops::ones({5}, {.dtype = kFloat64}),
                  tolerance(dtype, is_half(dtype) ? 1 : size));
      if (is_half(dtype)) continue;
      check_close(softmax(ops::add(x, 64.0), 1), softmax(x, 1), 64 * tolerance(dtype));
      check_close(ops::exp(log_softmax(x, 1)), softmax(x, 1), 16 * tolerance(dtype));
    }
  }
}

TEST_CASE("softmax at the edges of its domain") {
  const Device device = GENERATE(from_range(test_devices()));
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  const auto of = [&](std::vector<double> values) {
    return ops::to_vector<double>(softmax(from_vector(values).to(device), 0));
  };
  CHECK(of({-inf, 0, -inf}) == std::vector<double>{0, 1, 0});
  CHECK(of({1e308, -1e308}) == std::vector<double>{1, 0});
  check_close(of({-inf, -inf}), {nan, nan}, 0);
  check_close(of({0, nan, 1}), {nan, nan, nan}, 0);
  check_close(of({inf, 0}), {nan, nan}, 0);
  CHECK(softmax(ops::zeros({3, 0, 2}, {.device = device}), 1).shape() == Shape{3, 0, 2});
  CHECK(softmax(ops::zeros({0, 3}, {.device = device}), 1).shape() == Shape{0, 3});
}

TEST_CASE("long rows and many columns on the GPU are what they are on the CPU") {
  if (gpu::device_count() == 0) return;
  for (const auto& [name, function] : kBoth) {
    for (const Shape& shape : {Shape{3, 2500}, Shape{2, 5000}, Shape{700, 3}, Shape{2, 301, 67}}) {
      for (const DType dtype : {kFloat64, kFloat32, kFloat16}) {
        INFO(name << " " << taper::name(dtype) << shape.str());
        const Tensor x = random_tensor(shape, dtype, 1, 9);
        const Tensor on_gpu = x.to(Device("cuda"));
        check_close(function(on_gpu, 1), function(x, 1), tolerance(dtype, shape[1]));
        // Rows that begin off 16-byte boundaries.
        check_close(function(views::narrow(views::view(on_gpu, {x.numel()}), 0, 1, x.numel() - 1), 0),
                    function(views::narrow(views::view(x, {x.numel()}), 0, 1, x.numel() - 1), 0),
                    tolerance(dtype, x.numel()));
      }
    }
  }
}

TEST_CASE("derivatives of softmax on a GPU are the CPU's") {
  for (const auto& [name, function] : kBoth) {
    for (int64_t axis = 0; axis < 3; ++axis) {
      INFO(name << " axis " << axis);
      check_gpu_derivatives([&, g = function](const std::vector<Tensor>& in) { return g(in[0], axis); },
                            {random_tensor({5, 7, 6}, kFloat64, 1)}, 7, {kFloat64, kFloat32});
    }
  }
}

TEST_CASE("first and second derivatives of softmax are those of finite differences") {
  for (const auto& [name, function] : kBoth) {
    for (const Shape& shape : {Shape{}, Shape{1}, Shape{5}, Shape{3, 4}, Shape{2, 3, 4}}) {
      for (int64_t axis = 0; axis < std::max<int64_t>(shape.size(), 1); ++axis) {
        INFO(name << shape.str() << " axis " << axis);
        const auto f = [&, g = function](const std::vector<Tensor>& in) { return g(in[0], axis); };
        CHECK(gradcheck(f, {leaf(shape)}));
        CHECK(gradgradcheck(f, {leaf(shape)}));
      }
    }
  }
}

TEST_CASE("softmax is the same bits for any number of threads") {
  const Tensor x = random_tensor({301, 257}, kFloat32, 1, 4);
  for (const auto& [name, function] : kBoth) {
    for (const int64_t axis : {0, 1}) {
      const auto run = [&, g = function](int threads) {
        const ThreadsGuard guard(threads);
        return g(x, axis);
      };
      check_close(run(3), run(1), 0);
    }
  }
}

TEST_CASE("softmax refuses what it cannot normalise") {
  CHECK_THROWS_WITH(softmax(ops::ones({2, 3}, {.dtype = kInt64}), 1),
                    Catch::Contains("softmax") && Catch::Contains("i64"));
  CHECK_THROWS_WITH(log_softmax(ops::ones({2, 3}), 2),
                    Catch::Contains("log_softmax: axis 2 is out of range"));
}
