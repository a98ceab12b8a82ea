// Derivatives of reductions: finite differences, twice where create_graph works, and PyTorch's numbers.

#include <functional>

#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/gradcheck.h"
#include "tests/support/gpu_derivatives.h"
#include "tests/support/oracle_cases.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

using namespace taper;

namespace {

using Inputs = std::vector<Tensor>;

using Reduction = std::function<Tensor(const Tensor&, const Dims&, bool)>;

const std::vector<std::pair<std::string, Reduction>> kReductions = {
    {"sum", [](auto& x, auto& axes, bool keepdim) { return sum(x, axes, keepdim); }},
    {"mean", mean},
    {"norm", norm},
    {"var", [](auto& x, auto& axes, bool keep) { return var(x, axes, 1, keep); }},
    {"var0", [](auto& x, auto& axes, bool keep) { return var(x, axes, 0, keep); }},
    {"std", [](auto& x, auto& axes, bool keep) { return taper::std(x, axes, 1, keep); }},
    {"amax", amax},
    {"amin", amin},
    {"any", any},
    {"all", all},
};

}  // namespace

TEST_CASE("gradcheck of reductions over any axes") {
  const std::vector<std::pair<Shape, std::vector<Dims>>> cases = {
      {{5}, {{}, {0}}},
      {{2, 3, 2}, {{0}, {1}, {-1}, {0, 2}, {}}},
      {{2, 1, 3, 1}, {{1, 2}, {2, 3}}},
  };
  for (const auto& [name, reduction] : kReductions) {
    if (name == "any" || name == "all") continue;
    for (const auto& [shape, axes_list] : cases) {
      for (const Dims& axes : axes_list) {
        for (const bool keepdim : {false, true}) {
          INFO(name << " " << shape.str() << " over " << axes.str());
          const TensorFunction function = [&](const Inputs& x) { return reduction(x[0], axes, keepdim); };
          CHECK_NOTHROW(gradcheck(function, {leaf(shape)}));
          CHECK_NOTHROW(gradgradcheck(function, {leaf(shape)}));
        }
      }
    }
  }
  const TensorFunction scalar = [](const Inputs& x) {
    return sum(x[0], {0}) * mean(x[0]) * amax(x[0], {-1});
  };
  CHECK_NOTHROW(gradcheck(scalar, {leaf({})}));
}

TEST_CASE("gradcheck of choices along an axis") {
  for (const Shape& shape : {Shape{}, {5}, {3, 4}, {2, 3, 2}}) {
    for (int64_t axis = -1; axis < std::max<int64_t>(shape.size(), 1); ++axis) {
      for (const bool keepdim : {false, true}) {
        INFO(shape.str() << " axis " << axis);
        const auto check = [&](const TensorFunction& function) {
          CHECK_NOTHROW(gradcheck(function, {leaf(shape)}));
          CHECK_NOTHROW(gradgradcheck(function, {leaf(shape)}));
        };
        check([&](const Inputs& x) { return square(max(x[0], axis, keepdim).values); });
        check([&](const Inputs& x) { return square(min(x[0], axis, keepdim).values); });
        if (shape.empty()) continue;
        check([&](const Inputs& x) { return square(topk(x[0], 2, axis, keepdim).values); });
      }
    }
  }
}

TEST_CASE("gradcheck of sum_to and of views that undo it") {
  for (const Shape& shape : {Shape{3, 4}, {1, 3, 1}, {4}, {}, {2, 1, 4}}) {
    const TensorFunction function = [&](const Inputs& x) { return square(sum_to(x[0], shape)); };
    CHECK_NOTHROW(gradcheck(function, {leaf({2, 3, 4})}));
    CHECK_NOTHROW(gradgradcheck(function, {leaf({2, 3, 4})}));
  }
}

TEST_CASE("derivatives of reductions on a GPU are the CPU's") {
  for (const auto& [name, reduction] : kReductions) {
    if (name == "any" || name == "all") continue;
    for (const Dims& axes : {Dims{0}, {1}, {-1}, {0, 2}, {}}) {
      INFO(name << " over " << axes.str());
      const auto reduce = [&](const Inputs& in) { return reduction(in[0], axes, false); };
      check_gpu_derivatives(reduce, {random_tensor({3, 5, 4}, kFloat64, 1)}, 60, {kFloat64, kFloat32});
    }
  }
  for (const int64_t axis : {0, 1, 2}) {
    INFO("along axis " << axis);
    const Inputs x = {random_tensor({3, 5, 4}, kFloat64, 1)};
    check_gpu_derivatives([&](const Inputs& in) { return square(max(in[0], axis).values); }, x, 4,
                          {kFloat64, kFloat32});
    check_gpu_derivatives([&](const Inputs& in) { return square(topk(in[0], 2, axis).values); }, x, 4,
                          {kFloat64, kFloat32});
  }
  for (const Shape& shape : {Shape{5, 4}, {1, 5, 1}, {4}, {}, {3, 1, 4}}) {
    INFO("sum_to " << shape.str());
    check_gpu_derivatives([&](const Inputs& in) { return square(sum_to(in[0], shape)); },
                          {random_tensor({3, 5, 4}, kFloat64, 1)}, 60, {kFloat64, kFloat32});
  }
}

TEST_CASE("extremes share a gradient over axes, and give it to the first along one") {
  const Device device = GENERATE(from_range(test_devices()));
  Tensor x = from_vector<float>({1, 3, 3, 2, 3, 0}, {2, 3}).to(device);
  x.set_requires_grad();
  amax(x).backward();
  check_close(x.grad(), from_vector<double>({0, 1.0 / 3, 1.0 / 3, 0, 1.0 / 3, 0}, {2, 3}));
  x.set_grad({});
  sum(max(x, 1).values).backward();
  check_close(x.grad(), from_vector<float>({0, 1, 0, 0, 1, 0}, {2, 3}), 0);
  CHECK(!max(x, 1).indices.requires_grad());
  CHECK(!any(x).requires_grad());
}

TEST_CASE("a constant has standard deviation and norm 0, and gradient 0") {
  const Device device = GENERATE(from_range(test_devices()));
  Tensor x = full({2, 3}, 0, {.device = device});
  x.set_requires_grad();
  sum(taper::std(x, {1}) + norm(x, {1})).backward();
  check_close(x.grad(), zeros({2, 3}), 0);
}

TEST_CASE("reductions and their gradients give PyTorch's numbers", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const OracleCase& entry : oracle_cases("reduce_gradient")) {
    INFO(entry.name);
    Tensor x = entry["x"].to(device).detach();
    const bool has_gradient = entry["grad_x"].defined();
    if (has_gradient) x.set_requires_grad();
    const bool keepdim = entry.flag("keepdim");
    Tensor y, indices;
    for (const auto& [name, reduction] : kReductions) {
      if (entry.op != name) continue;
      const std::vector<int64_t> axes = entry.list("axes");
      y = reduction(x, Dims(axes), keepdim);
    }
    if (entry.op == "max" || entry.op == "min") {
      const auto axis = int64_t(entry.number("axis"));
      const auto chosen = entry.op == "max" ? max(x, axis, keepdim) : min(x, axis, keepdim);
      y = chosen.values, indices = chosen.indices;
    } else if (entry.op == "topk") {
      const auto chosen =
          topk(x, int64_t(entry.number("k")), int64_t(entry.number("axis")), entry.flag("largest"));
      y = chosen.values, indices = chosen.indices;
    } else if (entry.op == "argmax" || entry.op == "argmin") {
      const auto axis = int64_t(entry.number("axis"));
      y = entry.op == "argmax" ? argmax(x, axis, keepdim) : argmin(x, axis, keepdim);
    }
    CHECK(y.dtype() == entry["y"].dtype());
    // PyTorch accumulates f32 in f32: its error grows with the number of terms.
    const int64_t terms = x.numel() / std::max<int64_t>(y.numel(), 1);
    check_close(y, entry["y"], tolerance(y.dtype(), terms));
    if (indices.defined()) check_close(indices, entry["indices"], 0);
    if (!has_gradient) continue;
    y.backward(oracle_gradient(y).to(device));
    check_close(x.grad(), entry["grad_x"], tolerance(x.dtype(), terms));
  }
}
