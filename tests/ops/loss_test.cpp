// Losses against PyTorch, finite differences, and each other.

#include "taper/autograd/derivatives/loss.h"

#include "gpu_derivatives.h"
#include "oracle_cases.h"
#include "taper/autograd/derivatives/softmax.h"
#include "taper/autograd/gradcheck.h"
#include "taper/autograd/tape/engine.h"
#include "taper/core/views.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "test_tensors.h"
#include "tolerance.h"

using namespace taper;

namespace {

Reduction reduction(const OracleCase& c) {
  const std::string text = c.text("reduction");
  if (text == "none") return Reduction::kNone;
  return text == "mean" ? Reduction::kMean : Reduction::kSum;
}

CrossEntropyOptions cross_entropy_options(const OracleCase& c, Device device) {
  CrossEntropyOptions options{.weight = c["weight"].defined() ? c["weight"].to(device) : Tensor(),
                              .reduction = reduction(c),
                              .label_smoothing = c.number("label_smoothing")};
  if (c.op == "cross_entropy") options.ignore_index = int64_t(c.number("ignore_index"));
  return options;
}

/// Returns classes 0, 1, 2, ... in turn, with every `ignored`-th position set to -100.
Tensor classes_in_turn(const Shape& shape, int64_t classes, int64_t ignored = 0) {
  const Tensor target = empty(shape, {.dtype = kInt64});
  for (int64_t i = 0; i < target.numel(); ++i) {
    target.data<int64_t>()[i] = ignored && i % ignored == 1 ? -100 : i % classes;
  }
  return target;
}

}  // namespace

TEST_CASE("cross_entropy and its gradient agree with PyTorch for every option", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const OracleCase& c : oracle_cases("loss")) {
    if (c.op != "cross_entropy" && c.op != "soft_cross_entropy") continue;
    INFO(c.name << " " << c["logits"].shape().str());
    const Tensor logits = ops::clone(c["logits"]).to(device).set_requires_grad();
    const Tensor target = c["target"].to(device);
    const Tensor y = cross_entropy(logits, target, cross_entropy_options(c, device));
    const int64_t classes = logits.size(logits.dim() == 1 ? 0 : 1);
    // The terms that cancel are as large as the logits in the loss, and as large as probabilities in the
    // gradient.
    check_close(y, c["y"], tolerance(logits.dtype(), classes), 3);
    const Tensor dx = grad({y}, {logits}, {oracle_gradient(y).to(device)})[0];
    check_close(dx, c["grad"], tolerance(logits.dtype(), classes), 1);
    if (logits.dim() != 4) continue;
    const Tensor nhwc = ops::contiguous(c["logits"], kChannelsLast).to(device).set_requires_grad();
    const Tensor y2 = cross_entropy(nhwc, target, cross_entropy_options(c, device));
    check_close(y2, y, tolerance(y.dtype()));
    const Tensor dx2 = grad({y2}, {nhwc}, {oracle_gradient(y).to(device)})[0];
    CHECK(dx2.is_contiguous(kChannelsLast));
    if (device.is_cpu()) {
      check_close(dx2, dx, tolerance(y.dtype()));
    } else {  // rows and columns are added in different orders
      check_close(dx2, dx, tolerance(y.dtype(), classes), 1);
    }
  }
}

TEST_CASE("the other losses and their gradients agree with PyTorch", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const OracleCase& c : oracle_cases("loss")) {
    if (c.op == "cross_entropy" || c.op == "soft_cross_entropy") continue;
    INFO(c.name);
    if (c.op == "nll_loss") {
      const Tensor x = ops::clone(c["log_probs"]).to(device).set_requires_grad();
      const Tensor y = nll_loss(x, c["target"].to(device),
                                {c["weight"].defined() ? c["weight"].to(device) : Tensor(),
                                 int64_t(c.number("ignore_index")), reduction(c)});
      check_close(y, c["y"], tolerance(x.dtype(), x.numel()));
      check_close(grad({y}, {x}, {oracle_gradient(y).to(device)})[0], c["grad"]);
      continue;
    }
    const Tensor x = ops::clone(c["x"]).to(device).set_requires_grad();
    const Tensor t = ops::clone(c["target"]).to(device).set_requires_grad();
    const Tensor y = (c.op == "mse_loss" ? mse_loss : binary_cross_entropy_with_logits)(x, t, reduction(c));
    check_close(y, c["y"], tolerance(x.dtype(), x.numel()));
    const std::vector<Tensor> grads = grad({y}, {x, t}, {oracle_gradient(y).to(device)});
    check_close(grads[0], c["grad"]);
    check_close(grads[1], c["grad_target"]);
  }
}

TEST_CASE("cross_entropy with certain probabilities is that with class indices") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const Shape& shape : {Shape{5}, Shape{6, 5}, Shape{2, 7, 3, 4}, Shape{3, 2000}}) {
    for (const Reduction reduction : {Reduction::kNone, Reduction::kMean, Reduction::kSum}) {
      Shape positions = shape;
      const int64_t axis = shape.size() == 1 ? 0 : 1, classes = shape[axis];
      positions.erase(axis);
      const Tensor x = random_tensor(shape, kFloat64, 1, 3).to(device).set_requires_grad();
      const Tensor indices = classes_in_turn(positions, classes);
      Shape along_classes = Dims(std::vector<int64_t>(shape.size(), 1));
      along_classes[axis] = classes;
      const Tensor numbers = views::view(ops::arange(classes), along_classes);
      const Tensor target = ops::cast(ops::eq(views::unsqueeze(indices, axis), numbers), kFloat64);
      // Without weights: the mean divides by the targets' weights in one case, by their number in the other.
      const CrossEntropyOptions options{.reduction = reduction, .label_smoothing = 0.2};
      const Tensor soft = cross_entropy(x, target.to(device), options);
      const Tensor hard = cross_entropy(x, indices.to(device), options);
      check_close(soft, hard, tolerance(kFloat64, classes));
      const Tensor g = ops::ones_like(soft);
      check_close(grad({soft}, {x}, {g})[0], grad({hard}, {x}, {g})[0], tolerance(kFloat64, classes));
    }
  }
}

TEST_CASE("cross_entropy is nll_loss of log_softmax") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const Shape& shape : {Shape{6, 5}, Shape{2, 7, 3, 4}}) {
    Shape positions = shape;
    positions.erase(1);
    const Tensor x = random_tensor(shape, kFloat64, 1, 3).to(device);
    const Tensor weight = ops::linspace(0.5, 2, shape[1], {.dtype = kFloat64}).to(device);
    const Tensor target = classes_in_turn(positions, shape[1], 3).to(device);
    for (const Reduction reduction : {Reduction::kNone, Reduction::kMean, Reduction::kSum}) {
      check_close(cross_entropy(x, target, {.weight = weight, .reduction = reduction}),
                  nll_loss(log_softmax(x, 1), target, {.weight = weight, .reduction = reduction}));
    }
  }
}

TEST_CASE("cross_entropy with probabilities of strange layouts and half types") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = random_tensor({6, 5}, kFloat32, 1, 3).to(device);
  const Tensor target = softmax(random_tensor({6, 5}, kFloat32, 2, 3).to(device), 1);
  const Tensor expected = cross_entropy(x, target, {.reduction = Reduction::kNone});
  const auto turned = [](const Tensor& t) {
    return views::transpose(ops::contiguous(views::transpose(t, 0, 1)), 0, 1);
  };
  check_close(cross_entropy(turned(x), target, {.reduction = Reduction::kNone}), expected, 0);
  check_close(cross_entropy(x, turned(target), {.reduction = Reduction::kNone}), expected, 0);
  check_close(cross_entropy(x, target.to(kFloat64), {.reduction = Reduction::kNone}), expected, 0);
  for (const DType dtype : {kFloat16, kBFloat16}) {
    const Tensor half = ops::cast(x, dtype).set_requires_grad();
    const Tensor wide = ops::cast(half.detach(), kFloat32).set_requires_grad();
    const Tensor y = cross_entropy(half, target), wide_y = cross_entropy(wide, target);
    CHECK(y.dtype() == dtype);
    check_close(y, wide_y, tolerance(dtype));
    check_close(grad({y}, {half})[0], grad({wide_y}, {wide})[0], tolerance(dtype));
  }
  const Tensor none = ops::zeros({0, 3}, {.device = device});
  CHECK(std::isnan(cross_entropy(none, none).item()));  // as PyTorch has it
  CHECK(cross_entropy(none, none, {.reduction = Reduction::kSum}).item() == 0);
}

TEST_CASE("cross_entropy of strange layouts and half types") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor target = classes_in_turn({6}, 5).to(device);
  const Tensor turned = views::transpose(random_tensor({5, 6}, kFloat32).to(device), 0, 1);
  check_close(cross_entropy(turned, target), cross_entropy(ops::contiguous(turned), target), 0);
  const Tensor spread = views::expand(random_tensor({6, 1}, kFloat32).to(device), {6, 5});
  CHECK(cross_entropy(spread, target).item() == Approx(std::log(5.0)));
  const Tensor every_second = views::slice(classes_in_turn({12}, 5).to(device), 0, 0, 12, 2);
  check_close(cross_entropy(turned, every_second), cross_entropy(turned, ops::contiguous(every_second)), 0);
  for (const DType dtype : {kFloat16, kBFloat16}) {
    const Tensor x = random_tensor({6, 5}, dtype, 1, 3).to(device).set_requires_grad();
    const Tensor wide = ops::cast(x.detach(), kFloat32).set_requires_grad();
    const Tensor y = cross_entropy(x, target), expected = cross_entropy(wide, target);
    CHECK(y.dtype() == dtype);
    check_close(y, expected, tolerance(dtype));
    const Tensor dx = grad({y}, {x})[0];
    CHECK(dx.dtype() == dtype);
    check_close(dx, grad({expected}, {wide})[0], tolerance(dtype));
  }
}

TEST_CASE("cross_entropy of logits far from zero loses no digits") {
  const Tensor x = random_tensor({4, 9}, kFloat32), target = classes_in_turn({4}, 9);
  const Tensor shifted = empty({4, 9});
  // A shift by a power of two large enough to overflow exp, small enough to keep 11 bits of each value.
  for (int64_t i = 0; i < 36; ++i) shifted.data<float>()[i] = std::round(x.data<float>()[i] * 1024) / 1024;
  const Tensor exact = ops::clone(shifted);
  for (int64_t i = 0; i < 36; ++i) shifted.data<float>()[i] += 4096;
  check_close(cross_entropy(shifted, target), cross_entropy(exact, target));
}

TEST_CASE("cross_entropy on the GPU gives the CPU's loss and gradient for long rows and many positions") {
  if (gpu::device_count() == 0) return;
  const Device device("cuda");
  for (const Shape& shape : {Shape{5, 3001}, Shape{300, 10}, Shape{2, 19, 11, 13}}) {
    Shape positions = shape;
    positions.erase(1);
    const Tensor target = classes_in_turn(positions, shape[1], 7);
    for (const DType dtype : {kFloat64, kFloat32, kBFloat16}) {
      for (const double smoothing : {0.0, 0.1}) {
        INFO(name(dtype) << shape.str() << " smoothing " << smoothing);
        const Tensor weight = ops::cast(ops::linspace(0.5, 2, shape[1]), dtype);
        const Tensor x = random_tensor(shape, dtype, 1, 5).set_requires_grad();
        const Tensor on_gpu = x.detach().to(device).set_requires_grad();
        const Tensor y = cross_entropy(x, target, {.weight = weight, .label_smoothing = smoothing});
        const Tensor y2 = cross_entropy(on_gpu, target.to(device),
                                        {.weight = weight.to(device), .label_smoothing = smoothing});
        check_close(y2, y, tolerance(dtype, shape[1]));
        check_close(grad({y2}, {on_gpu})[0], grad({y}, {x})[0], tolerance(dtype, shape[1]));
      }
    }
  }
}

TEST_CASE("cross_entropy gives ignored positions no gradient, and NaN as the mean of nothing") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = random_tensor({7, 3}).to(device).set_requires_grad(), target = classes_in_turn({7}, 3, 2);
  const Tensor dx = grad({cross_entropy(x, target.to(device), {.label_smoothing = 0.2})}, {x})[0].cpu();
  for (int64_t row = 0; row < 7; ++row) {
    const bool ignored = target.data<int64_t>()[row] == -100;
    for (int64_t c = 0; c < 3; ++c) CHECK((dx.data<double>()[row * 3 + c] == 0) == ignored);
  }
  const Tensor nothing = ops::full({7}, -100, {.dtype = kInt64, .device = device});
  CHECK(std::isnan(cross_entropy(x, nothing).item()));
  CHECK(cross_entropy(x, nothing, {.reduction = Reduction::kSum}).item() == 0);
  // The gradient is 0 even where an ignored position's logits are NaN.
  const Tensor broken = ops::full({2, 3}, std::nan(""), {.device = device}).set_requires_grad();
  const Tensor ignored = ops::full({2}, -100, {.dtype = kInt64, .device = device});
  check_close(grad({cross_entropy(broken, ignored, {.reduction = Reduction::kSum})}, {broken})[0],
              ops::zeros({2, 3}), 0);
  CHECK(std::isnan(cross_entropy(ops::zeros({0, 3}, {.device = device}),
                                 ops::zeros({0}, {.dtype = kInt64, .device = device}))
                       .item()));
}

TEST_CASE("derivatives of losses of two tensors on a GPU are the CPU's") {
  const std::vector<Tensor> inputs = {random_tensor({13, 5}, kFloat64, 1),
                                      random_tensor({13, 5}, kFloat64, 2)};
  for (const Reduction reduction : {Reduction::kNone, Reduction::kMean, Reduction::kSum}) {
    INFO("reduction " << int(reduction));
    check_gpu_derivatives([&](const auto& in) { return mse_loss(in[0], in[1], reduction); }, inputs, 65);
    check_gpu_derivatives(
        [&](const auto& in) { return binary_cross_entropy_with_logits(in[0], in[1], reduction); }, inputs, 65,
        {kFloat64, kFloat32});
  }
}

TEST_CASE("first and second derivatives of the losses are those of finite differences") {
  for (const Reduction reduction : {Reduction::kNone, Reduction::kMean, Reduction::kSum}) {
    for (const double smoothing : {0.0, 0.3}) {
      for (const bool weighted : {false, true}) {
        for (const Shape& shape : {Shape{4}, Shape{3, 4}, Shape{2, 3, 2, 2}}) {
          INFO(shape.str() << " reduction " << int(reduction) << " smoothing " << smoothing << " "
                           << weighted);
          Shape positions = shape;
          positions.erase(shape.size() == 1 ? 0 : 1);
          const int64_t classes = shape[shape.size() == 1 ? 0 : 1];
          const Tensor weight = weighted ? ops::linspace(0.5, 2, classes, {.dtype = kFloat64}) : Tensor();
          const Tensor target = classes_in_turn(positions, classes, 3);
          const auto f = [&](const std::vector<Tensor>& in) {
            return cross_entropy(in[0], target,
                                 {.weight = weight, .reduction = reduction, .label_smoothing = smoothing});
          };
          CHECK(gradcheck(f, {leaf(shape)}));
          CHECK(gradgradcheck(f, {leaf(shape)}));
          const Tensor probabilities = softmax(leaf(shape, 5).detach(), shape.size() == 1 ? 0 : 1);
          const auto soft = [&](const std::vector<Tensor>& in) {
            return cross_entropy(in[0], probabilities,
                                 {.weight = weight, .reduction = reduction, .label_smoothing = smoothing});
          };
          CHECK(gradcheck(soft, {leaf(shape)}));
          CHECK(gradgradcheck(soft, {leaf(shape)}));
          if (smoothing > 0) continue;
          const auto nll = [&](const std::vector<Tensor>& in) {
            return nll_loss(in[0], target, {.weight = weight, .reduction = reduction});
          };
          CHECK(gradcheck(nll, {leaf(shape)}));
        }
      }
    }
    const auto mse = [&](const std::vector<Tensor>& in) { return mse_loss(in[0], in[1], reduction); };
    const auto bce = [&](const std::vector<Tensor>& in) {
      return binary_cross_entropy_with_logits(in[0], in[1], reduction);
    };
    for (const auto& f : {TensorFunction(mse), TensorFunction(bce)}) {
      CHECK(gradcheck(f, {leaf({3, 2}), leaf({3, 2}, 2)}));
      CHECK(gradgradcheck(f, {leaf({3, 2}), leaf({3, 2}, 2)}));
    }
  }
}

TEST_CASE("binary cross entropy has the right slope at zero and no overflow far away") {
  const Tensor x = from_vector<double>({0, 1000, -1000}).set_requires_grad();
  const Tensor t = from_vector<double>({0.25, 1, 1});
  const Tensor y = binary_cross_entropy_with_logits(x, t, Reduction::kNone);
  check_close(ops::to_vector<double>(y), {std::log(2.0), 0, 1000}, tolerance(kFloat64));
  check_close(ops::to_vector<double>(grad({y}, {x}, {ops::ones_like(y)})[0]), {0.25, 0, -1},
              tolerance(kFloat64));
}

TEST_CASE("binary cross entropy of infinite logits is its limit") {
  const Device device = GENERATE(from_range(test_devices()));
  const double inf = std::numeric_limits<double>::infinity();
  const Tensor x = from_vector<double>({inf, inf, inf, -inf, -inf, -inf}).to(device).set_requires_grad();
  const Tensor t = from_vector<double>({0, 0.5, 1, 0, 0.5, 1}).to(device);
  const Tensor y = binary_cross_entropy_with_logits(x, t, Reduction::kNone);
  // PyTorch has inf for the first two and NaN, from 0 * inf, for the others; the gradients are PyTorch's.
  CHECK(ops::to_vector<double>(y) == std::vector<double>{inf, inf, 0, 0, inf, inf});
  y.sum().backward();
  CHECK(ops::to_vector<double>(x.grad()) == std::vector<double>{1, 0.5, 0, 0, -0.5, -1});
  const Tensor nan = ops::full({1}, std::nan(""), {.device = device});
  for (const double target : {0., 0.5, 1.}) {
    const Tensor loss = binary_cross_entropy_with_logits(nan, ops::full({1}, target, {.device = device}));
    CHECK(std::isnan(loss.item()));
  }
}

TEST_CASE("cross_entropy is the same bits for any number of threads") {
  const bool soft = GENERATE(false, true);
  for (const Shape& shape : {Shape{1009, 37}, Shape{3, 37, 23, 29}}) {
    Shape positions = shape;
    positions.erase(1);
    const Tensor x = random_tensor(shape, kFloat32, 1, 4);
    const Tensor target =
        soft ? softmax(random_tensor(shape, kFloat32, 2, 4), 1) : classes_in_turn(positions, 37, 7);
    const auto run = [&](int threads) {
      const ThreadsGuard guard(threads);
      const Tensor logits = ops::clone(x).set_requires_grad();
      const Tensor y = cross_entropy(logits, target, {.label_smoothing = 0.1});
      return std::vector<Tensor>{y.detach(), grad({y}, {logits})[0]};
    };
    const auto one = run(1), three = run(3);
    check_close(three[0], one[0], 0);
    check_close(three[1], one[1], 0);
  }
}

TEST_CASE("losses name what does not fit") {
  using Catch::Contains;
  const Tensor x = random_tensor({3, 4}, kFloat32), good = classes_in_turn({3}, 4);
  const auto target = [](std::vector<int64_t> values) { return from_vector(values); };
  CHECK_THROWS_WITH(
      cross_entropy(x, target({0, 4, 1})),
      "cross_entropy: target[1] is 4, but logits [3, 4] have classes 0 to 3 (ignore_index is -100)");
  CHECK_THROWS_WITH(cross_entropy(x, target({0, 1, -1})), Contains("target[2] is -1"));
  CHECK_THROWS_WITH(cross_entropy(random_tensor({2, 3, 2}), views::view(target({0, 1, 9, 0}), {2, 2})),
                    Contains("target[1, 0] is 9"));
  CHECK_THROWS_WITH(cross_entropy(x, target({0, 1})),
                    Contains("target must be [3] for logits [3, 4], got [2]"));
  CHECK_THROWS_WITH(cross_entropy(x, good.to(kInt32)), Contains("must be i64 class indices, got i32"));
  CHECK_THROWS_WITH(
      cross_entropy(x, random_tensor({3})),
      Contains("must have the shape of the logits, [3, 4], got [3]; class indices are i64, not f64"));
  CHECK_THROWS_WITH(cross_entropy(x, random_tensor({3, 4}).set_requires_grad()),
                    Contains("give target.detach()"));
  CHECK_THROWS_WITH(cross_entropy(x, x, {.ignore_index = 2}), Contains("ignore_index is 2, but"));
  CHECK_THROWS_WITH(cross_entropy(x, x, {.weight = ops::ones({3})}), Contains("weight must be [4]"));
  CHECK_THROWS_WITH(cross_entropy(x, x, {.label_smoothing = -1}), Contains("between 0 and 1, got -1"));
  CHECK_THROWS_WITH(cross_entropy(ops::ones({3, 0}), ops::ones({3, 0})), Contains("no classes"));
  CHECK_THROWS_WITH(cross_entropy(ops::ones({3, 4}, {.dtype = kInt64}), good), Contains("cross_entropy"));
  CHECK_THROWS_WITH(cross_entropy(ops::ones({}), good), Contains("got a scalar"));
  CHECK_THROWS_WITH(cross_entropy(ops::ones({3, 0}), good), Contains("no classes"));
  CHECK_THROWS_WITH(cross_entropy(x, good, {.weight = ops::ones({3})}), Contains("weight must be [4]"));
  CHECK_THROWS_WITH(cross_entropy(x, good, {.label_smoothing = 1.5}), Contains("between 0 and 1, got 1.5"));
  CHECK_THROWS_WITH(nll_loss(x, target({0, 4, 1})), Contains("nll_loss: target[1] is 4, but log_probs"));
  CHECK_THROWS_WITH(mse_loss(x, good), Contains("mse_loss: input [3, 4] and target [3]"));
  CHECK_THROWS_WITH(binary_cross_entropy_with_logits(x, good), Contains("must have the same shape"));
}
