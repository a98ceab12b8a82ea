// LAMB and LARS over many tensors at once: the papers' formulas, every layout and dtype, any number of
// threads.

#include "taper/ops/optimizer/layerwise.h"

#include <algorithm>

#include "oracle.h"
#include "oracle_cases.h"
#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "test_tensors.h"
#include "tolerance.h"

using namespace taper;
using Catch::Contains;

namespace {

using Tensors = std::vector<Tensor>;

Tensors on(Device device, const Tensors& tensors) {
  Tensors result;
  for (const Tensor& x : tensors) result.push_back(ops::to_device(ops::clone(x), device));
  return result;
}

LambOptions lamb_options(const OracleCase& c) {
  return {.lr = c.number("lr"),
          .beta1 = c.number("beta1"),
          .beta2 = c.number("beta2"),
          .eps = c.number("eps"),
          .weight_decay = c.number("weight_decay"),
          .always_adapt = c.flag("always_adapt")};
}

LarsOptions lars_options(const OracleCase& c) {
  return {.lr = c.number("lr"),
          .momentum = c.number("momentum"),
          .dampening = c.number("dampening"),
          .weight_decay = c.number("weight_decay"),
          .nesterov = c.flag("nesterov"),
          .trust_coeff = c.number("trust_coeff"),
          .eps = c.number("eps"),
          .always_adapt = c.flag("always_adapt")};
}

/// Parameters, gradients and memory of every size and dtype: more tensors than one launch takes, odd sizes
/// that are misaligned for packs, chunks that end inside them, and parameters that are 0.
struct Lists {
  Tensors params, grads, first, second;

  Lists() {
    for (int i = 0; i < 200; ++i) {
      const int64_t size = i % 50 == 7 ? 4096 * 2 + 5 : i % 7;
      const DType dtype = i % 3 == 0 ? kFloat32 : i % 3 == 1 ? kBFloat16 : kFloat64;
      const Tensor whole = random_tensor({size + 1}, dtype, uint64_t(i) + 1);
      if (i % 11 == 5) ops::fill_(whole, 0);
      params.push_back(i % 2 ? views::narrow(whole, 0, 1, size) : views::narrow(whole, 0, 0, size));
      grads.push_back(random_tensor({size}, i % 5 ? dtype : kFloat32, uint64_t(i) + 300));
      first.push_back(random_tensor({size}, kFloat32, uint64_t(i) + 600));
      second.push_back(ops::full({size}, 0.5));
    }
  }
  Lists on(Device device) const {
    Lists there = *this;
    for (Tensors* list : {&there.params, &there.grads, &there.first, &there.second})
      *list = ::on(device, *list);
    return there;
  }
};

using Update = std::function<void(const Lists&, const UpdateControls&, const Tensors& copies)>;

/// The updates by name.
std::vector<std::pair<const char*, Update>> updates() {
  return {
      {"lamb",
       [](const Lists& x, const UpdateControls& controls, const Tensors& copies) {
         ops::lamb_update(x.params, x.grads, x.first, x.second, {.lr = 0.1, .weight_decay = 0.1}, 3, controls,
                          copies);
       }},
      {"lamb without ratios",
       [](const Lists& x, const UpdateControls& controls, const Tensors& copies) {
         ops::lamb_update(x.params, x.grads, x.first, x.second, {.lr = 0.1, .weight_decay = 0}, 3, controls,
                          copies);
       }},
      {"lars",
       [](const Lists& x, const UpdateControls& controls, const Tensors& copies) {
         ops::lars_update(x.params, x.grads, x.first,
                          {.lr = 1, .momentum = 0.9, .weight_decay = 0.1, .trust_coeff = 0.1}, false,
                          controls, copies);
       }},
      {"lars without momentum", [](const Lists& x, const UpdateControls& controls, const Tensors& copies) {
         ops::lars_update(x.params, x.grads, {}, {.lr = 1, .weight_decay = 0.1, .trust_coeff = 0.1}, false,
                          controls, copies);
       }}};
}

}  // namespace

TEST_CASE("lamb and lars follow their papers step by step", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  int compared = 0;
  for (const OracleCase& c : oracle_cases("layerwise")) {
    INFO(c.name << " " << device.str());
    const Tensors params = on(device, c.numbered("param"));
    REQUIRE(params.size() == 9);
    Tensors first, second;
    for (const Tensor& x : params) {
      // LARS: the buffer's content must not matter in the first step.
      first.push_back(ops::full_like(x, c.op == "lars" ? std::nan("") : 0));
      second.push_back(ops::zeros_like(x));
    }
    for (int step = 1; step <= 5; ++step) {
      const Tensors grads = on(device, c.numbered(fmt::format("grad{}_", step)));
      if (c.op == "lamb") {
        ops::lamb_update(params, grads, first, second, lamb_options(c), step);
      } else {
        const LarsOptions options = lars_options(c);
        ops::lars_update(params, grads, options.momentum == 0 ? Tensors() : first, options, step == 1);
      }
      const Tensors expected = c.numbered(fmt::format("param{}_", step));
      REQUIRE(expected.size() == params.size());
      for (size_t i = 0; i < params.size(); ++i) {
        INFO("step " << step << ", parameter " << i);
        check_close(params[i], expected[i], tolerance(params[i].dtype(), 50), 1);
      }
    }
    ++compared;
  }
  CHECK((compared == 40 || !oracle_dir("layerwise")));
}

TEST_CASE("lamb and lars on the GPU are the CPU's for many tensors of every size and dtype") {
  const Lists start;
  for (const auto& [name, update] : updates()) {
    const Lists cpu = start.on(kCPU), gpu = start.on(Device("cuda"));
    update(cpu, {}, {});
    update(gpu, {}, {});
    for (size_t i = 0; i < cpu.params.size(); ++i) {
      INFO(name << ", parameter " << i);
      const double tol = tolerance(cpu.params[i].dtype() == kBFloat16 ? kBFloat16 : kFloat32, 10);
      check_close(gpu.params[i], cpu.params[i], tol, 1);
      check_close(gpu.first[i], cpu.first[i], tol, 1);
      check_close(gpu.second[i], cpu.second[i], tol, 1);
    }
  }
}

TEST_CASE("lamb and lars give the same bits for any number of threads and any grouping") {
  const Device device = GENERATE(from_range(test_devices()));
  const Lists start;
  for (const auto& [name, update] : updates()) {
    INFO(name << " on " << device.str());
    const Lists one = start.on(device);
    {
      const ThreadsGuard guard(1);
      update(one, {}, {});
    }
    for (const int threads : {2, 3, 8}) {
      if (device.is_cuda()) break;  // one order, whatever the CPU's threads
      const ThreadsGuard guard(threads);
      const Lists other = start.on(device);
      update(other, {}, {});
      for (size_t i = 0; i < one.params.size(); ++i) check_close(other.params[i], one.params[i], 0);
    }
    for (const size_t i : {size_t(1), size_t(7), size_t(57)}) {
      const Lists all = start.on(device);
      Lists alone = all;
      for (Tensors* list : {&alone.params, &alone.grads, &alone.first, &alone.second}) *list = {(*list)[i]};
      update(alone, {}, {});
      check_close(alone.params[0], one.params[i], 0);
    }
  }
}

TEST_CASE("lamb and lars move a parameter by a share of its norm, whatever the gradient's size") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor start = random_tensor({300}, kFloat64, 1), grad = random_tensor({300}, kFloat64, 2);
  const double norm = ops::item(ops::global_norm({start}));
  for (const double scale : {1e-3, 1.0, 1e6}) {
    const auto moved = [&](const auto& update) {
      const Tensor param = ops::to_device(ops::clone(start), device), g = ops::clone(grad);
      ops::scale_({g}, scale);
      update(param, ops::to_device(g, device));
      const Tensor step = ops::clone(ops::to_device(param, kCPU));
      for (int64_t i = 0; i < 300; ++i) step.data<double>()[i] -= start.data<double>()[i];
      return ops::item(ops::global_norm({step}));
    };
    CHECK(moved([](const Tensor& p, const Tensor& g) {
            ops::lamb_update({p}, {g}, {ops::zeros_like(p)}, {ops::zeros_like(p)},
                             {.lr = 0.25, .eps = 0, .weight_decay = 0.1}, 1);
          }) == Approx(0.25 * norm));
    CHECK(moved([](const Tensor& p, const Tensor& g) {
            ops::lars_update({p}, {g}, {}, {.lr = 0.5, .trust_coeff = 0.5, .eps = 0, .always_adapt = true},
                             true);
          }) == Approx(0.25 * norm));
  }
}

TEST_CASE("lamb and lars take lr, step and skip from memory of the device") {
  const Device device = GENERATE(from_range(test_devices()));
  const auto number = [&](double value) {
    return ops::full({}, value, {.dtype = kFloat64, .device = device});
  };
  const auto flag = [&](double value) { return ops::full({}, value, {.device = device}); };
  const Tensor start = random_tensor({37}, kFloat32, 1),
               grad = ops::to_device(random_tensor({37}, kFloat32, 2), device);
  const auto run = [&](const auto& update) {
    const Tensors x = on(device, {start, ops::ones({37}), ops::ones({37})});
    update(x[0], x[1], x[2]);
    return on(kCPU, x);
  };
  const auto lamb = [&](double lr, int64_t step, const UpdateControls& controls) {
    return run([&](auto& p, auto& m, auto& v) {
      ops::lamb_update({p}, {grad}, {m}, {v}, {.lr = lr}, step, controls);
    });
  };
  const auto lars = [&](double lr, const UpdateControls& controls) {
    return run([&](auto& p, auto& b, auto&) {
      ops::lars_update({p}, {grad}, {b}, {.lr = lr, .momentum = 0.5, .weight_decay = 0.1, .trust_coeff = 0.1},
                       false, controls);
    });
  };
  const auto check_equal = [](const Tensors& a, const Tensors& b) {
    for (size_t i = 0; i < a.size(); ++i) check_close(a[i], b[i], 0);
  };
  check_equal(lamb(7, 1, {.lr = number(0.25), .step = number(5)}), lamb(0.25, 5, {}));
  check_equal(lamb(0.25, 5, {.skip = flag(0)}), lamb(0.25, 5, {}));
  check_equal(lars(7, {.lr = number(0.25), .step = number(2)}), lars(0.25, {}));
  CHECK(ops::to_vector<float>(lars(0.25, {.step = number(1)})[1]) !=
        ops::to_vector<float>(lars(0.25, {})[1]));  // the first step forgets what was in the buffer
  const Tensors untouched = {start, ops::ones({37}), ops::ones({37})};
  check_equal(lamb(1, 1, {.skip = flag(1)}), untouched);
  check_equal(lars(1, {.skip = flag(1)}), untouched);
  CHECK_THROWS_WITH(lars(1, {.lr = ops::ones({2})}), Contains("lars_update: lr must be one f64 number"));
}

TEST_CASE("copies of parameters that lamb and lars write are what a cast would give") {
  const PoisonedMemory poisoned;
  const Device device = GENERATE(from_range(test_devices()));
  const Lists start;
  for (const auto& [name, update] : updates()) {
    INFO(name << " on " << device.str());
    const Lists x = start.on(device), plain = start.on(device);
    Tensors copies;
    for (size_t i = 0; i < x.params.size(); ++i) {
      const bool none = i % 4 == 0 || x.params[i].dtype() == kBFloat16 || !x.params[i].is_dense();
      copies.push_back(none ? Tensor() : empty_like(x.params[i], i % 2 ? kFloat16 : kBFloat16));
    }
    update(x, {}, copies);
    update(plain, {}, {});
    size_t compared = 0;
    for (size_t i = 0; i < x.params.size(); ++i) {
      check_close(x.params[i], plain.params[i], 0);
      if (!copies[i].defined()) continue;
      check_close(copies[i], ops::cast(x.params[i], copies[i].dtype()), 0);
      ++compared;
    }
    CHECK(compared > 20);
    const Tensor some =
        *std::ranges::find_if(copies, [](const Tensor& copy) { return copy.defined() && copy.numel() > 4; });
    const Tensor before = ops::clone(some);
    update(x, {.skip = ops::ones({}, {.device = device})}, copies);
    check_close(some, before, 0);
  }
}

TEST_CASE("lamb and lars refuse lists that do not belong together") {
  const Tensor a = ops::ones({2, 3}), b = ops::ones({3, 2});
  CHECK_THROWS_WITH(ops::lamb_update({a, a}, {a}, {a, a}, {a, a}, {}, 1),
                    "lamb_update: 1 grads for 2 tensors");
  CHECK_THROWS_WITH(ops::lamb_update({a}, {a}, {a}, {b}, {}, 1), Contains("exp_avg_sqs[0] is [3, 2]"));
  CHECK_THROWS_WITH(ops::lamb_update({a}, {a}, {a}, {a}, {}, 0), Contains("step counts from 1"));
  CHECK_THROWS_WITH(ops::lars_update({a}, {a}, {a}, {}, true), Contains("without momentum"));
  CHECK_THROWS_WITH(ops::lars_update({a}, {a}, {}, {.momentum = 0.9}, true), Contains("0 momentum_buffers"));
  CHECK_THROWS_WITH(ops::lars_update({a}, {b}, {}, {}, true), Contains("grads[0] is [3, 2]"));
  check_close(a, ops::ones({2, 3}), 0);
}
