// Updates of many tensors at once: torch.optim's numbers, every layout and dtype, and any number of threads.

#include "taper/ops/optimizer/optimizer.h"

#include "oracle_cases.h"
#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
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

Tensors on(Device device, const Tensors& tensors) {
  Tensors result;
  for (const Tensor& x : tensors) result.push_back(ops::to_device(x, device));
  return result;
}

SgdOptions sgd_options(const OracleCase& c) {
  return {.lr = c.number("lr"),
          .momentum = c.number("momentum"),
          .dampening = c.number("dampening"),
          .weight_decay = c.number("weight_decay"),
          .nesterov = c.flag("nesterov")};
}

/// AdamOptions or AdamWOptions.
template <class Options>
Options adam_options(const OracleCase& c) {
  Options options;
  options.lr = c.number("lr", options.lr);
  options.beta1 = c.number("beta1", options.beta1);
  options.beta2 = c.number("beta2", options.beta2);
  options.eps = c.number("eps", options.eps);
  options.weight_decay = c.number("weight_decay", options.weight_decay);
  return options;
}

}  // namespace

TEST_CASE("sgd, adam and adamw follow torch.optim step by step", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const OracleCase& c : oracle_cases("optimizer")) {
    INFO(c.name << " " << device.str());
    const Tensors params = on(device, c.numbered("param"));
    REQUIRE(params.size() >= 6);
    const bool sgd = c.op == "sgd";
    const Tensors first = zeros_like(params), second = zeros_like(params);
    // The buffer's content must not matter in the first step.
    for (const Tensor& buffer : first) {
      if (sgd) ops::fill_(buffer, std::nan(""));
    }
    for (int step = 0; step < 5; ++step) {
      const Tensors grads = on(device, c.numbered(fmt::format("grad{}_", step)));
      if (sgd) {
        const SgdOptions options = sgd_options(c);
        ops::sgd_update(params, grads, options.momentum == 0 ? Tensors() : first, options, step == 0);
      } else if (c.op == "adam") {
        ops::adam_update(params, grads, first, second, adam_options<AdamOptions>(c), step + 1);
      } else {
        REQUIRE(c.op == "adamw");
        ops::adamw_update(params, grads, first, second, adam_options<AdamWOptions>(c), step + 1);
      }
      check_close(on(kCPU, params), c.numbered(fmt::format("param{}_", step)), tolerance(params[1].dtype()));
    }
  }
}

TEST_CASE("updates give the same result whatever the memory order and dtype of each list") {
  const Device device = GENERATE(from_range(test_devices()));
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
      INFO(device.str() << " " << name(dtype) << " layout " << layout);
      const auto in_format = [&](const Tensor& x, int bit) {
        return ops::clone(
            ops::contiguous(ops::to_device(x, device), layout >> bit & 1 ? kChannelsLast : kContiguous));
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
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor whole = random_tensor({6, 8}, kFloat32, 1), before = ops::clone(whole);
  const Tensor grad = random_tensor({6, 4}, kFloat32, 3);
  const Tensor there = ops::to_device(whole, device);
  ops::sgd_update({views::slice(there, 1, 0, 8, 2)}, {ops::to_device(grad, device)}, {}, {.lr = 0.5}, true);
  const Tensor after = ops::to_device(there, kCPU);
  for (int64_t row = 0; row < 6; ++row) {
    for (int64_t column = 0; column < 8; ++column) {
      const float old = before.data<float>()[row * 8 + column];
      const float step = column % 2 ? 0 : 0.5f * grad.data<float>()[row * 4 + column / 2];
      CHECK(after.data<float>()[row * 8 + column] == Approx(old - step));
    }
  }
}

TEST_CASE("gradients of another dtype than the parameters are converted") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor param = ops::to_device(random_tensor({50}, kFloat32, 1), device);
  const Tensor grad = ops::to_device(random_tensor({50}, kBFloat16, 2), device);
  const Tensor expected = ops::clone(param);
  ops::sgd_update({expected}, {ops::cast(grad, kFloat32)}, {}, {.lr = 0.5}, true);
  ops::sgd_update({param}, {grad}, {}, {.lr = 0.5}, true);
  taper::check_close(param, expected, 0);
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
  const Device device = GENERATE(from_range(test_devices()));
  // m / sqrt(v) is the gradient's sign after bias correction.
  const Tensor there = ops::zeros({3, 5}, {.dtype = kFloat64, .device = device});
  const Tensor grad = random_tensor({3, 5}, kFloat64, 1);
  ops::adamw_update({there}, {ops::to_device(grad, device)}, {ops::zeros_like(there)},
                    {ops::zeros_like(there)}, {.lr = 0.25, .eps = 0, .weight_decay = 0}, 1);
  const Tensor param = ops::to_device(there, kCPU);
  for (int64_t i = 0; i < 15; ++i) {
    CHECK(param.data<double>()[i] == Approx(grad.data<double>()[i] > 0 ? -0.25 : 0.25));
  }
}

TEST_CASE("ema_update weighs the old average and the new value") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const DType dtype : {kFloat32, kFloat64, kBFloat16}) {
    const Tensor average = ops::to_device(random_tensor({11, 3}, dtype, 1), device);
    const Tensor param = ops::to_device(random_tensor({11, 3}, dtype, 5), device);
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
  const Device device = GENERATE(from_range(test_devices()));
  const auto full = [&](const Shape& shape, double value, DType dtype = kFloat32) {
    return ops::full(shape, value, {.dtype = dtype, .device = device});
  };
  CHECK(ops::item(ops::global_norm({})) == 0);
  CHECK(ops::item(ops::global_norm({full({3, 3}, 2), full({4, 4, 4}, 1)})) == Approx(10));
  CHECK(ops::global_norm({full({2}, 1)}).dtype() == kFloat32);
  CHECK(ops::global_norm({full({2}, 1), full({2}, 1, kFloat64)}).dtype() == kFloat64);
  // Far beyond what a sum in f32 could hold.
  CHECK(ops::item(ops::global_norm({full({1000003}, 1e-3)})) ==
        Approx(1e-3 * std::sqrt(1000003.0)).epsilon(1e-7));
  const Tensor strided = views::slice(full({8, 8}, 1, kFloat16), 1, 0, 8, 2);
  CHECK(ops::item(ops::global_norm({strided})) == Approx(std::sqrt(32.0)));
}

TEST_CASE("scale_ multiplies everything by one number or one tensor") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor a = ops::full({3, 3}, 2.0, {.device = device});
  const Tensor b = views::select(ops::full({5, 2}, 4.0, {.dtype = kFloat64, .device = device}), 1, 0);
  ops::scale_({a, b}, 0.5);
  check_close(a, ops::full({3, 3}, 1.0), 0);
  check_close(b, ops::full({5}, 2.0, {.dtype = kFloat64}), 0);
  ops::scale_({a, b}, ops::full({}, 3.0, {.device = device}));
  check_close(a, ops::full({3, 3}, 3.0), 0);
  check_close(b, ops::full({5}, 6.0, {.dtype = kFloat64}), 0);
}

TEST_CASE("updates on the GPU are the CPU's for many tensors of every size and dtype") {
  // More tensors than one launch takes; odd sizes are misaligned for packs, and chunks end inside them.
  const Device gpu("cuda");
  Tensors params, grads, first, second;
  for (int i = 0; i < 200; ++i) {
    const int64_t size = i % 50 == 7 ? 4096 * 2 + 5 : i % 7;
    const DType dtype = i % 3 == 0 ? kFloat32 : i % 3 == 1 ? kBFloat16 : kFloat64;
    const Tensor whole = random_tensor({size + 1}, dtype, uint64_t(i) + 1);
    params.push_back(i % 2 ? views::narrow(whole, 0, 1, size) : views::narrow(whole, 0, 0, size));
    grads.push_back(random_tensor({size}, i % 5 ? dtype : kFloat32, uint64_t(i) + 300));
    first.push_back(random_tensor({size}, kFloat32, uint64_t(i) + 600));
    second.push_back(ops::cast(ops::full({size}, 0.5), kFloat32));
  }
  const auto both = [&](const auto& update) {
    const Tensors p = clone(params), m = clone(first), v = clone(second);
    const Tensors p_gpu = on(gpu, params), m_gpu = on(gpu, first), v_gpu = on(gpu, second);
    update(p, grads, m, v);
    update(p_gpu, on(gpu, grads), m_gpu, v_gpu);
    for (size_t i = 0; i < p.size(); ++i) {
      taper::check_close(p_gpu[i], p[i], tolerance(p[i].dtype()), 1);
      taper::check_close(m_gpu[i], m[i], tolerance(p[i].dtype() == kBFloat16 ? kBFloat16 : kFloat32), 1);
      taper::check_close(v_gpu[i], v[i], tolerance(p[i].dtype() == kBFloat16 ? kBFloat16 : kFloat32), 1);
    }
  };
  both([](auto& p, const auto& g, auto& m, auto&) {
    ops::sgd_update(p, g, m, {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.1}, false);
  });
  both([](auto& p, const auto& g, auto& m, auto& v) { ops::adamw_update(p, g, m, v, {.lr = 0.1}, 3); });
  both([](auto& p, const auto& g, auto& m, auto& v) {
    ops::adam_update(p, g, m, v, {.lr = 0.1, .weight_decay = 0.1}, 3);
  });
  both([](auto& p, const auto&, auto& m, auto&) { ops::ema_update(m, p, 0.9); });
  both([](auto& p, const auto& g, auto&, auto&) {
    ops::scale_(p, 0.25);
    ops::scale_(p, ops::global_norm(g));
  });
}

TEST_CASE("lr, step and skip can come from memory of the device") {
  const Device device = GENERATE(from_range(test_devices()));
  const auto number = [&](double value) {
    return ops::full({}, value, {.dtype = kFloat64, .device = device});
  };
  const auto flag = [&](double value) { return ops::full({}, value, {.device = device}); };
  const Tensor start = random_tensor({37}, kFloat32, 1),
               grad = ops::to_device(random_tensor({37}, kFloat32, 2), device);
  const auto run = [&](const auto& update) {
    const Tensors x = on(device, {ops::clone(start), ops::zeros({37}), ops::ones({37})});
    update(x[0], x[1], x[2]);
    return on(kCPU, x);
  };
  const auto sgd = [&](double lr, const UpdateControls& controls) {
    return run([&](auto& p, auto& m, auto&) {
      ops::sgd_update({p}, {grad}, {m}, {.lr = lr, .momentum = 0.5}, false, controls);
    });
  };
  const auto adamw = [&](double lr, int64_t step, const UpdateControls& controls) {
    return run([&](auto& p, auto& m, auto& v) {
      ops::adamw_update({p}, {grad}, {m}, {v}, {.lr = lr}, step, controls);
    });
  };
  check_close(sgd(7, {.lr = number(0.25)}), sgd(0.25, {}), 0);
  check_close(sgd(0.25, {.step = number(2)}), sgd(0.25, {}), 0);
  // In the first step the buffer is the gradient.
  CHECK(ops::to_vector<float>(sgd(0.25, {.step = number(1)})[1]) == ops::to_vector<float>(grad));
  check_close(adamw(7, 1, {.lr = number(0.25), .step = number(5)}), adamw(0.25, 5, {}), 0);
  check_close(adamw(0.25, 5, {.skip = flag(0)}), adamw(0.25, 5, {}), 0);
  const Tensors untouched = {start, ops::zeros({37}), ops::ones({37})};
  check_close(sgd(1, {.skip = flag(1)}), untouched, 0);
  check_close(adamw(1, 1, {.skip = flag(1)}), untouched, 0);
  CHECK_THROWS_WITH(sgd(1, {.lr = ops::ones({2})}), Catch::Contains("sgd_update: lr must be one f64 number"));
}

TEST_CASE("copies of parameters are what a cast would give") {
  const PoisonedMemory poisoned;
  const Device device = GENERATE(from_range(test_devices()));
  // More tensors than one launch takes. Odd sizes are misaligned for packs, and chunks end inside them.
  Tensors params, grads, first, second, copies;
  for (int i = 0; i < 200; ++i) {
    const int64_t size = i % 50 == 7 ? 4096 * 2 + 5 : i % 7;
    const DType dtype = i % 4 == 3 ? kFloat64 : kFloat32, half = i % 2 ? kFloat16 : kBFloat16;
    params.push_back(random_tensor({size, 3, 1, 2}, dtype, uint64_t(i) + 1, i % 5 == 0 ? 1e-6 : 1));
    if (i % 6 == 1) params.back() = ops::contiguous(params.back(), kChannelsLast);
    grads.push_back(random_tensor({size, 3, 1, 2}, kFloat32, uint64_t(i) + 300));
    first.push_back(ops::zeros_like(params.back()));
    second.push_back(ops::full_like(params.back(), 0.5));
    copies.push_back(i % 3 == 0 ? Tensor() : empty_like(params.back(), half));
  }
  const auto check = [&](const char* what, const auto& update) {
    INFO(what << " on " << device.str());
    const auto fresh = [&](const Tensors& tensors) { return on(device, clone(tensors)); };
    const Tensors p = fresh(params), plain = fresh(params);
    Tensors given;
    for (const Tensor& copy : copies) given.push_back(copy.defined() ? ops::to_device(copy, device) : copy);
    const uint32_t version = given[1].version();
    update(p, fresh(grads), fresh(first), fresh(second), given);
    update(plain, fresh(grads), fresh(first), fresh(second), Tensors());
    for (size_t i = 0; i < p.size(); ++i) {
      taper::check_close(p[i], plain[i], 0);
      if (given[i].defined()) taper::check_close(given[i], ops::cast(p[i], given[i].dtype()), 0);
    }
    CHECK(given[1].version() > version);
  };
  check("sgd", [](auto& p, const auto& g, const auto&, const auto&, const auto& copies_) {
    ops::sgd_update(p, g, {}, {.lr = 0.1}, true, {}, copies_);
  });
  check("sgd with momentum", [](auto& p, const auto& g, const auto& m, const auto&, const auto& copies_) {
    ops::sgd_update(p, g, m, {.lr = 0.1, .momentum = 0.9}, false, {}, copies_);
  });
  check("adamw", [](auto& p, const auto& g, const auto& m, const auto& v, const auto& copies_) {
    ops::adamw_update(p, g, m, v, {.lr = 0.1}, 3, {}, copies_);
  });
  check("adam", [](auto& p, const auto& g, const auto& m, const auto& v, const auto& copies_) {
    ops::adam_update(p, g, m, v, {.lr = 0.1, .weight_decay = 0.1}, 3, {}, copies_);
  });
}

TEST_CASE("a skipped update leaves copies as they were") {
  const Device device = GENERATE(from_range(test_devices()));
  const auto ones = [&](DType dtype) { return ops::ones({37}, {.dtype = dtype, .device = device}); };
  const Tensor param = ones(kFloat32), copy = ops::full_like(ones(kFloat16), 7);
  const UpdateControls controls = {.skip = ops::full({}, 1, {.device = device})};
  ops::sgd_update({param}, {param}, {}, {.lr = 0.5}, true, controls, {copy});
  ops::adamw_update({param}, {param}, {ones(kFloat32)}, {ones(kFloat32)}, {}, 1, controls, {copy});
  CHECK(ops::to_vector<float>(copy) == std::vector<float>(37, 7));
}

TEST_CASE("copies of parameters that do not fit are refused") {
  const Tensor param = random_tensor({2, 3, 4, 5}, kFloat32), half = ops::cast(param, kBFloat16);
  const auto update = [&](const Tensor& of, const Tensors& copies) {
    ops::sgd_update({of}, {of}, {}, {}, true, {}, copies);
  };
  using Catch::Contains;
  CHECK_THROWS_WITH(update(param, {half, half}), "sgd_update: 2 copies for 1 tensors");
  CHECK_THROWS_WITH(update(param, {param}),
                    "sgd_update: copies[0] must be f16 or bf16, of an f32 or f64 parameter; got f32 of f32");
  CHECK_THROWS_WITH(update(half, {half}), Contains("got bf16 of bf16"));
  CHECK_THROWS_WITH(update(param, {views::view(half, {2, 60})}),
                    Contains("copies[0] must have its parameter's memory order, [2, 3, 4, 5] with strides"));
  CHECK_THROWS_WITH(update(param, {ops::contiguous(half, kChannelsLast)}), Contains("memory order"));
}

TEST_CASE("unscale_ multiplies and finds what is not finite") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const DType dtype : {kFloat32, kFloat64, kFloat16, kBFloat16}) {
    for (const double bad : {0.0, double(INFINITY), -double(INFINITY), std::nan("")}) {
      INFO(device.str() << " " << name(dtype) << " " << bad);
      const Tensor a = random_tensor({5000}, dtype, 1), b = ops::full({3}, 8, {.dtype = dtype});
      if (bad != 0) ops::fill_(views::narrow(a, 0, 4999, 1), bad);
      const Tensor expected = ops::cast(ops::mul(a, 0.125), dtype);
      const Tensors x = on(device, {a, b});
      const Tensor found = ops::zeros({}, {.device = device});
      ops::unscale_(x, ops::full({}, 0.125, {.device = device}), found);
      CHECK(ops::item(found) == (bad != 0 ? 1 : 0));
      CHECK(ops::to_vector<double>(x[1]) == std::vector<double>(3, 1));
      taper::check_close(x[0], expected, 0);
      ops::unscale_({x[1]}, ops::full({}, 0.125, {.device = device}), found);
      CHECK(ops::item(found) == (bad != 0 ? 1 : 0));
    }
  }
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
  CHECK_THROWS_WITH(ops::adamw_update({a}, {a}, {a}, {a}, {}, 0), "adamw_update: step counts from 1, got 0");
  CHECK_THROWS_WITH(ops::adam_update({a}, {a}, {a}, {a}, {}, 0), "adam_update: step counts from 1, got 0");
  CHECK_THROWS_WITH(ops::ema_update({a}, {a}, 1.5), Contains("between 0 and 1"));
  check_close(a, ops::ones({2, 3}), 0);
}
