// Updates of many tensors at once: torch.optim's numbers, every layout and dtype, and any number of threads.

#include "taper/ops/optimizer/optimizer.h"

#include "oracle_cases.h"
#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/index/join.h"
#include "test_tensors.h"
#include "tolerance.h"

using namespace taper;

namespace {

using Tensors = std::vector<Tensor>;

Tensors zeros_like(const Tensors& tensors) {
  Tensors result;
  for (const Tensor& x : tensors) result.push_back(ops::zeros_like(x));
  return result;
}

Tensors clone(const Tensors& tensors) {
  Tensors result;
  for (const Tensor& x : tensors) result.push_back(ops::clone(x));
  return result;
}

/// All elements of all tensors in one row, so that a value near zero is judged by the size of its neighbours.
Tensor joined(const Tensors& tensors) {
  Tensors rows;
  for (const Tensor& x : tensors) rows.push_back(views::view(ops::contiguous(x), {x.numel()}));
  return ops::cat(rows);
}

void check_close(const Tensors& actual, const Tensors& expected, double tol) {
  REQUIRE(actual.size() == expected.size());
  taper::check_close(joined(actual), joined(expected), tol);
}

SgdOptions sgd_options(const OracleCase& c) {
  return {.lr = c.number("lr"),
          .momentum = c.number("momentum"),
          .dampening = c.number("dampening"),
          .weight_decay = c.number("weight_decay"),
          .nesterov = c.flag("nesterov")};
}

AdamWOptions adamw_options(const OracleCase& c) {
  AdamWOptions options;
  options.lr = c.number("lr", options.lr);
  options.beta1 = c.number("beta1", options.beta1);
  options.beta2 = c.number("beta2", options.beta2);
  options.eps = c.number("eps", options.eps);
  options.weight_decay = c.number("weight_decay", options.weight_decay);
  return options;
}

}  // namespace

TEST_CASE("sgd and adamw follow torch.optim step by step") {
  for (const OracleCase& c : oracle_cases("optimizer")) {
    INFO(c.name);
    const Tensors params = c.numbered("param");
    REQUIRE(params.size() >= 6);
    const bool sgd = c.op == "sgd";
    const Tensors first = zeros_like(params), second = zeros_like(params);
    // The buffer's content must not matter in the first step.
    for (const Tensor& buffer : first) {
      if (sgd) ops::fill_(buffer, std::nan(""));
    }
    for (int step = 0; step < 5; ++step) {
      const Tensors grads = c.numbered(fmt::format("grad{}_", step));
      if (sgd) {
        const SgdOptions options = sgd_options(c);
        ops::sgd_update(params, grads, options.momentum == 0 ? Tensors() : first, options, step == 0);
      } else {
        ops::adamw_update(params, grads, first, second, adamw_options(c), step + 1);
      }
      check_close(params, c.numbered(fmt::format("param{}_", step)), tolerance(params[1].dtype()));
    }
  }
}

TEST_CASE("updates give the same result whatever the memory order and dtype of each list") {
  // One element at a time in f64, row-major, is the definition.
  const Shape shape{4, 3, 5, 7};
  const SgdOptions options{
      .lr = 0.1, .momentum = 0.9, .dampening = 0.1, .weight_decay = 0.01, .nesterov = true};
  for (const DType dtype : {kFloat64, kFloat32, kFloat16, kBFloat16}) {
    const Tensor param = random_tensor(shape, dtype, 1), grad = random_tensor(shape, dtype, 3),
                 buffer = random_tensor(shape, dtype, 2);
    const Tensor p = ops::clone(ops::cast(param, kFloat64)), b = ops::clone(ops::cast(buffer, kFloat64));
    const Tensor g = ops::cast(grad, kFloat64);
    ops::sgd_update({p}, {g}, {b}, options, false);
    for (int layout = 0; layout < 8; ++layout) {
      INFO(name(dtype) << " layout " << layout);
      const auto in_format = [&](const Tensor& x, int bit) {
        return ops::clone(ops::contiguous(x, layout >> bit & 1 ? kChannelsLast : kContiguous));
      };
      const Tensor p1 = in_format(param, 0), g1 = in_format(grad, 1), b1 = in_format(buffer, 2);
      const uint32_t version = p1.version();
      ops::sgd_update({p1}, {g1}, {b1}, options, false);
      CHECK(p1.version() > version);
      taper::check_close(p1, ops::cast(p, dtype), tolerance(dtype));
      taper::check_close(b1, ops::cast(b, dtype), tolerance(dtype));
    }
  }
}

TEST_CASE("parameters that are not dense are updated in place") {
  const Tensor whole = random_tensor({6, 8}, kFloat32, 1), before = ops::clone(whole);
  const Tensor part = views::slice(whole, 1, 0, 8, 2), grad = random_tensor({6, 4}, kFloat32, 3);
  ops::sgd_update({part}, {grad}, {}, {.lr = 0.5}, true);
  for (int64_t row = 0; row < 6; ++row) {
    for (int64_t column = 0; column < 8; ++column) {
      const float old = before.data<float>()[row * 8 + column];
      const float step = column % 2 ? 0 : 0.5f * grad.data<float>()[row * 4 + column / 2];
      CHECK(whole.data<float>()[row * 8 + column] == Approx(old - step));
    }
  }
}

TEST_CASE("gradients of another dtype than the parameters are converted") {
  const Tensor param = random_tensor({50}, kFloat32, 1), grad = random_tensor({50}, kBFloat16, 2),
               expected = ops::clone(param);
  ops::sgd_update({expected}, {ops::cast(grad, kFloat32)}, {}, {.lr = 0.5}, true);
  ops::sgd_update({param}, {grad}, {}, {.lr = 0.5}, true);
  check_close(param, expected, 0);
}

TEST_CASE("updates and norms are the same bits for any number of threads and any grouping") {
  Tensors params, grads;
  for (const int64_t size : {1, 40000, 0, 7, 32768, 100001, 3}) {
    params.push_back(random_tensor({size}, kFloat32, uint64_t(size)));
    grads.push_back(random_tensor({size}, kFloat32, uint64_t(size) + 1));
  }
  const AdamWOptions options{.lr = 0.1};
  const auto update = [&](int threads) {
    const ThreadsGuard guard(threads);
    Tensors result = clone(params);
    ops::adamw_update(result, grads, zeros_like(params), zeros_like(params), options, 1);
    result.push_back(ops::global_norm(grads));
    return result;
  };
  const Tensors one = update(1);
  for (const int threads : {2, 3, 8}) check_close(update(threads), one, 0);
  for (size_t i = 0; i < params.size(); ++i) {
    const Tensor alone = ops::clone(params[i]);
    ops::adamw_update({alone}, {grads[i]}, {ops::zeros_like(alone)}, {ops::zeros_like(alone)}, options, 1);
    check_close(alone, one[i], 0);
  }
}

TEST_CASE("adamw without decay moves each element by the learning rate in its first step") {
  // m / sqrt(v) is the gradient's sign after bias correction.
  const Tensor param = ops::zeros({3, 5}, {.dtype = kFloat64}), grad = random_tensor({3, 5}, kFloat64, 1);
  ops::adamw_update({param}, {grad}, {ops::zeros_like(param)}, {ops::zeros_like(param)},
                    {.lr = 0.25, .eps = 0, .weight_decay = 0}, 1);
  for (int64_t i = 0; i < 15; ++i) {
    CHECK(param.data<double>()[i] == Approx(grad.data<double>()[i] > 0 ? -0.25 : 0.25));
  }
}

TEST_CASE("ema_update weighs the old average and the new value") {
  for (const DType dtype : {kFloat32, kFloat64, kBFloat16}) {
    const Tensor average = random_tensor({11, 3}, dtype, 1), param = random_tensor({11, 3}, dtype, 5);
    const auto a = ops::to_vector<double>(average), p = ops::to_vector<double>(param);
    ops::ema_update({average}, {param}, 0.75);
    const auto result = ops::to_vector<double>(average);
    for (size_t i = 0; i < a.size(); ++i) {
      const double error = std::abs(result[i] - (0.75 * a[i] + 0.25 * p[i]));
      CHECK(error <= tolerance(dtype));
    }
  }
}

TEST_CASE("global_norm is the norm of everything at once") {
  CHECK(ops::item(ops::global_norm({})) == 0);
  CHECK(ops::item(ops::global_norm({ops::full({3, 3}, 2.0), ops::full({4, 4, 4}, 1.0)})) == Approx(10));
  CHECK(ops::global_norm({ops::ones({2})}).dtype() == kFloat32);
  CHECK(ops::global_norm({ops::ones({2}), ops::ones({2}, {.dtype = kFloat64})}).dtype() == kFloat64);
  // Far beyond what a sum in f32 could hold.
  CHECK(ops::item(ops::global_norm({ops::full({1000003}, 1e-3)})) ==
        Approx(1e-3 * std::sqrt(1000003.0)).epsilon(1e-7));
  const Tensor strided = views::slice(ops::ones({8, 8}, {.dtype = kFloat16}), 1, 0, 8, 2);
  CHECK(ops::item(ops::global_norm({strided})) == Approx(std::sqrt(32.0)));
}

TEST_CASE("scale_ multiplies everything by one number or one tensor") {
  const Tensor a = ops::full({3, 3}, 2.0),
               b = views::select(ops::full({5, 2}, 4.0, {.dtype = kFloat64}), 1, 0);
  ops::scale_({a, b}, 0.5);
  check_close(a, ops::full({3, 3}, 1.0), 0);
  check_close(b, ops::full({5}, 2.0, {.dtype = kFloat64}), 0);
  ops::scale_({a, b}, ops::full({}, 3.0));
  check_close(a, ops::full({3, 3}, 3.0), 0);
  check_close(b, ops::full({5}, 6.0, {.dtype = kFloat64}), 0);
}

TEST_CASE("updates refuse lists that do not belong together") {
  const Tensor a = ops::ones({2, 3}), b = ops::ones({3, 2}), whole = ops::ones({2, 3}, {.dtype = kInt64});
  using Catch::Contains;
  CHECK_THROWS_WITH(ops::sgd_update({a, a}, {a}, {}, {}, true), "sgd_update: 1 grads for 2 tensors");
  CHECK_THROWS_WITH(ops::sgd_update({a, a}, {a, b}, {}, {}, true), Contains("grads[1] is [3, 2]"));
  CHECK_THROWS_WITH(ops::sgd_update({a, Tensor()}, {a, a}, {}, {}, true), Contains("params[1] is undefined"));
  CHECK_THROWS_WITH(ops::sgd_update({whole}, {whole}, {}, {}, true), Contains("floating point, got i64"));
  CHECK_THROWS_WITH(ops::sgd_update({a}, {a}, {a}, {}, true), Contains("without momentum"));
  CHECK_THROWS_WITH(ops::sgd_update({a}, {a}, {}, {.momentum = 0.9}, true), Contains("0 momentum_buffers"));
  CHECK_THROWS_WITH(ops::adamw_update({a}, {a}, {a}, {a}, {}, 0), Contains("step counts from 1"));
  CHECK_THROWS_WITH(ops::ema_update({a}, {a}, 1.5), Contains("between 0 and 1"));
  check_close(a, ops::ones({2, 3}), 0);
}
