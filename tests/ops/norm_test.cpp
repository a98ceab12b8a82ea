// Batch norm: against the formulas in f64, finite differences of the fused backward, running statistics.

#include <catch2/catch.hpp>
#include <cmath>

#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/norm.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/gradcheck.h"
#include "taper/autograd/tape/engine.h"
#include "taper/core/base/parallel.h"
#include "taper/core/views.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/norm/batch_norm.h"
#include "tests/support/oracle_cases.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

using namespace taper;

namespace {

struct NormCase {
  std::string name;
  Shape input;
  bool affine, residual, relu;
};

const std::vector<NormCase> kCases = {
    {"plain", {4, 3, 5, 2}, false, false, false},
    {"affine", {4, 3, 5, 2}, true, false, false},
    {"affine, relu", {3, 17, 2, 4}, true, false, true},
    {"affine, residual, relu", {5, 6, 3, 3}, true, true, true},
    {"residual alone", {2, 4, 3, 3}, false, true, false},
    {"one pixel", {7, 5, 1, 1}, true, true, true},
    {"features", {9, 4}, true, true, true},
    {"many rows", {40, 3, 30, 31}, true, false, true},
    {"many channels", {2, 1030, 3, 1}, true, true, true},
    {"no channels", {2, 0, 3, 3}, true, false, false},
};

struct Inputs {
  Tensor x, weight, bias, residual;
};

Inputs make_inputs(const NormCase& test, DType dtype, Device device = {}) {
  const Shape channels = {test.input[1]};
  const auto random = [&](const Shape& shape, uint64_t seed) {
    return ops::to_device(random_tensor(shape, dtype, seed), device);
  };
  return {random(test.input, 1), test.affine ? random(channels, 2) : Tensor(),
          test.affine ? random(channels, 3) : Tensor(), test.residual ? random(test.input, 4) : Tensor()};
}

/// Channel of element i of a row-major tensor.
size_t channel_of(const Shape& shape, size_t i) {
  const int64_t plane = shape.size() == 4 ? shape[2] * shape[3] : 1;
  return size_t(int64_t(i) / plane % shape[1]);
}

std::vector<double> values_or(const Tensor& x, size_t count, double otherwise) {
  return x.defined() ? ops::to_vector<double>(x) : std::vector<double>(count, otherwise);
}

/// The formula with given statistics, in f64 and row-major order.
std::vector<double> normalized(const Inputs& in, const std::vector<double>& mean,
                               const std::vector<double>& var, const BatchNormOptions& options) {
  const auto x = ops::to_vector<double>(in.x), weight = values_or(in.weight, mean.size(), 1);
  const auto bias = values_or(in.bias, mean.size(), 0), residual = values_or(in.residual, x.size(), 0);
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = channel_of(in.x.shape(), i);
    y[i] = (x[i] - mean[c]) / std::sqrt(var[c] + options.eps) * weight[c] + bias[c] + residual[i];
    if (options.relu) y[i] = std::max(y[i], 0.0);
  }
  return y;
}

struct Statistics {
  std::vector<double> mean, var;
};

Statistics statistics_of(const Tensor& x) {
  const auto values = ops::to_vector<double>(x);
  const size_t channels = size_t(x.size(1));
  const double rows = channels == 0 ? 0 : double(values.size() / channels);
  Statistics result{std::vector<double>(channels), std::vector<double>(channels)};
  for (size_t i = 0; i < values.size(); ++i) result.mean[channel_of(x.shape(), i)] += values[i] / rows;
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t c = channel_of(x.shape(), i);
    result.var[c] += (values[i] - result.mean[c]) * (values[i] - result.mean[c]) / rows;
  }
  return result;
}

/// Errors of a mean are relative to the values (here about 1), which may cancel.
void check_means(const Tensor& actual, std::vector<double> expected, double tolerance) {
  std::vector<double> means = ops::to_vector<double>(actual);
  for (double& value : means) value += 1;
  for (double& value : expected) value += 1;
  check_close(means, expected, tolerance);
}

}  // namespace

TEST_CASE("batch norm agrees with its formula") {
  const PoisonedMemory poisoned;
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  const MemoryFormat format = GENERATE(kContiguous, kChannelsLast);
  for (const NormCase& test : kCases) {
    INFO(test.name << ", " << name(dtype) << " on " << device.str());
    Inputs in = make_inputs(test, dtype, device);
    if (in.x.dim() == 4) in.x = ops::contiguous(in.x, format);
    const BatchNormOptions options = {.momentum = 0.3, .eps = 1e-3, .relu = test.relu};
    const Statistics batch = statistics_of(in.x);
    const int64_t rows = test.input[1] == 0 ? 2 : numel(test.input) / test.input[1];

    const DType wide = compute_dtype(dtype);
    const Tensor running_mean = ops::to_device(random_tensor({test.input[1]}, wide, 5), device),
                 running_var = ops::to_device(random_tensor({test.input[1]}, wide, 6), device);
    std::vector<double> new_mean = ops::to_vector<double>(running_mean),
                        new_var = ops::to_vector<double>(running_var);
    for (size_t c = 0; c < new_mean.size(); ++c) {
      new_mean[c] = 0.7 * new_mean[c] + 0.3 * batch.mean[c];
      new_var[c] = 0.7 * new_var[c] + 0.3 * batch.var[c] * double(rows) / double(rows - 1);
    }
    const uint32_t version = running_mean.version();
    const auto [y, save_mean, save_invstd, relu_mask] =
        ops::batch_norm_training(in.x, in.weight, in.bias, running_mean, running_var, options, in.residual);
    CHECK(!relu_mask.defined());
    check_close(ops::to_vector<double>(y), normalized(in, batch.mean, batch.var, options),
                tolerance(dtype, rows));
    check_means(running_mean, new_mean, tolerance(wide, rows));
    check_close(ops::to_vector<double>(running_var), new_var, tolerance(wide, rows));
    CHECK(running_mean.version() == version + 1);
    check_means(save_mean, batch.mean, tolerance(wide, rows));
    CHECK(y.dtype() == dtype);
    if (y.dim() == 4) CHECK(y.is_contiguous(kChannelsLast));

    for (double& value : new_var) value = std::fabs(value);
    const Tensor given_var = ops::to_device(ops::cast(from_vector(new_var), wide), device),
                 given_mean = ops::to_device(ops::cast(from_vector(new_mean), wide), device);
    const Tensor inference =
        ops::batch_norm_inference(in.x, in.weight, in.bias, given_mean, given_var, options, in.residual);
    check_close(ops::to_vector<double>(inference), normalized(in, new_mean, new_var, options),
                tolerance(dtype, 4));
  }
}

TEST_CASE("batch norm's fused backward agrees with finite differences") {
  for (const NormCase& test : kCases) {
    if (numel(test.input) > 2000) continue;
    INFO(test.name);
    const Inputs in = make_inputs(test, kFloat64);
    const BatchNormOptions options = {.relu = test.relu};
    const auto forward = [&](const Inputs& at) {
      return ops::batch_norm_training(at.x, at.weight, at.bias, {}, {}, options, at.residual, true);
    };
    const ops::BatchNormOutput out = forward(in);
    const Tensor grad = random_tensor(test.input, kFloat64, 9);
    const ops::BatchNormGrads grads = ops::batch_norm_backward(
        grad, in.x, out.relu_mask, in.weight, out.save_mean, out.save_invstd, options, test.residual);
    const auto check = [&](Tensor Inputs::*input, const Tensor& analytic) {
      const Tensor original = in.*input;
      if (!original.defined()) return;
      std::vector<double> numeric(size_t(original.numel()));
      for (size_t i = 0; i < numeric.size(); ++i) {
        const auto at = [&](double step) {
          std::vector<double> values = ops::to_vector<double>(original);
          values[i] += step;
          Inputs moved = in;
          moved.*input = from_vector(values, original.shape());
          return dot(forward(moved).y, grad);
        };
        numeric[i] = (at(1e-6) - at(-1e-6)) / 2e-6;
      }
      check_close(ops::to_vector<double>(analytic), numeric, 1e-6);
    };
    check(&Inputs::x, grads.x);
    check(&Inputs::weight, grads.weight);
    check(&Inputs::bias, grads.bias);
    check(&Inputs::residual, grads.residual);
    CHECK(grads.residual.defined() == test.residual);
  }
}

TEST_CASE("batch norm's backward computes half types in f32, in two passes that can be called alone") {
  const PoisonedMemory poisoned;
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  const bool needs_residual = GENERATE(true, false);
  for (const NormCase& test : kCases) {
    INFO(test.name << ", " << name(dtype) << " on " << device.str());
    const Inputs in = make_inputs(test, dtype, device);
    const BatchNormOptions options = {.relu = test.relu};
    const Tensor grad = ops::to_device(random_tensor(test.input, dtype, 9), device);
    const ops::BatchNormOutput out =
        ops::batch_norm_training(in.x, in.weight, in.bias, {}, {}, options, in.residual, true);
    const ops::BatchNormGrads actual = ops::batch_norm_backward(
        grad, in.x, out.relu_mask, in.weight, out.save_mean, out.save_invstd, options, needs_residual);
    const auto exact = [](const Tensor& x) {
      return x.defined() ? ops::cast(ops::to_device(x, Device("cpu")), kFloat64) : x;
    };
    const ops::BatchNormOutput wide = ops::batch_norm_training(exact(in.x), exact(in.weight), exact(in.bias),
                                                               {}, {}, options, exact(in.residual));
    // The same mask for both: that of the narrow type.
    const Tensor mask = test.relu ? ops::to_device(out.relu_mask, Device("cpu")) : Tensor();
    const ops::BatchNormGrads expected =
        ops::batch_norm_backward(exact(grad), exact(in.x), mask, exact(in.weight), wide.save_mean,
                                 wide.save_invstd, options, needs_residual);
    const int64_t rows = test.input[1] == 0 ? 1 : numel(test.input) / test.input[1];
    // Of grad * weight / deviation, which a batch without end would leave, the sums' part cancels much.
    const Tensor terms = ops::batch_norm_backward_input(
        exact(grad), exact(in.x), mask, exact(in.weight), wide.save_mean, wide.save_invstd, expected.weight,
        expected.bias, ops::full({}, 1e300, {.dtype = kFloat64}));
    check_close(actual.x, expected.x, tolerance(dtype, rows), mean_magnitude(terms));
    check_close(actual.weight, expected.weight, tolerance(kFloat32, rows));
    check_close(actual.bias, expected.bias, tolerance(kFloat32, rows));
    if (needs_residual) check_close(actual.residual, expected.residual, tolerance(dtype));
    CHECK(actual.residual.defined() == needs_residual);
    CHECK(actual.x.dtype() == dtype);

    const ops::BatchNormGrads sums = ops::batch_norm_backward_sums(grad, in.x, out.relu_mask, out.save_mean,
                                                                   out.save_invstd, options, needs_residual);
    CHECK(!sums.x.defined());
    CHECK(ops::to_vector<double>(sums.weight) == ops::to_vector<double>(actual.weight));
    CHECK(ops::to_vector<double>(sums.bias) == ops::to_vector<double>(actual.bias));
    REQUIRE(sums.residual.defined() == needs_residual);
    if (needs_residual)
      CHECK(ops::to_vector<double>(sums.residual) == ops::to_vector<double>(actual.residual));

    const auto input_gradient = [&](const Tensor& from, const Tensor& relu_mask, double batches) {
      const double values = test.input[1] == 0 ? 0 : double(numel(test.input) / test.input[1]);
      const Tensor count = ops::full({}, batches * values, {.dtype = kFloat64, .device = device});
      return ops::batch_norm_backward_input(from, in.x, relu_mask, in.weight, out.save_mean, out.save_invstd,
                                            sums.weight, sums.bias, batches == 1 ? Tensor() : count);
    };
    check_close(input_gradient(grad, out.relu_mask, 1), actual.x, tolerance(dtype, 4));
    if (needs_residual) check_close(input_gradient(sums.residual, {}, 1), actual.x, tolerance(dtype, 4));
    // The larger the batch with these sums, the less of its gradient is theirs.
    const Tensor in_two = input_gradient(grad, out.relu_mask, 2),
                 alone = input_gradient(grad, out.relu_mask, 1e300);
    check_close(ops::add(in_two, in_two), ops::add(actual.x, alone), tolerance(dtype, 4));
  }
}

TEST_CASE("batch norm keeps the ReLU's mask as the bits of y > 0") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  const bool residual = GENERATE(true, false);
  const std::vector<Shape> shapes = {{3, 8, 5, 2},  {9, 1, 3, 7},   {7, 2, 4, 3}, {5, 4, 3, 3},
                                     {2, 6, 9, 5},  {3, 12, 7},     {4, 17},      {2, 31, 3, 20},
                                     {1, 24, 5, 5}, {3, 260, 2, 1}, {2, 0, 3, 3}};
  for (Shape shape : shapes) {
    if (shape.size() == 3) shape.push_back(1);
    INFO(shape.str() << ", " << name(dtype));
    const NormCase test = {"", shape, true, residual, true};
    const PoisonedMemory poisoned;
    const Inputs in = make_inputs(test, dtype, device);
    const auto out =
        ops::batch_norm_training(in.x, in.weight, in.bias, {}, {}, {.relu = true}, in.residual, true);
    REQUIRE(out.relu_mask.shape() == ops::relu_mask_shape(in.x));
    const auto bytes = ops::to_vector<uint8_t>(out.relu_mask);
    const auto y = ops::to_vector<double>(out.y);
    const size_t channels = size_t(shape[1]), row_bytes = (channels + 7) / 8;
    const size_t plane = shape.size() == 4 ? size_t(shape[2] * shape[3]) : 1;
    std::vector<uint8_t> expected(bytes.size());
    for (size_t i = 0; i < y.size(); ++i) {
      const size_t c = i / plane % channels, row = i / plane / channels * plane + i % plane;
      if (y[i] > 0) expected[row * row_bytes + c / 8] |= uint8_t(1 << c % 8);
    }
    CHECK(bytes == expected);

    const Tensor passed = ops::unpack_relu_mask(out.relu_mask, in.x);
    CHECK(passed.dtype() == dtype);
    std::vector<double> ones(y.size());
    for (size_t i = 0; i < y.size(); ++i) ones[i] = y[i] > 0;
    CHECK(ops::to_vector<double>(passed) == ones);
  }
}

TEST_CASE("NaN passes the ReLU's gradient, as in PyTorch") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  const int64_t channels = GENERATE(1, 8, 37);  // single elements, whole vectors, and a rest
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> data, passes;
  for (int64_t i = 0; i < 4 * channels; ++i) {
    const double each[] = {nan, -1, 0, 2};
    data.push_back(each[i % 4]);
    passes.push_back(i % 4 == 0 || i % 4 == 3);
  }
  const Tensor x = ops::to_device(ops::cast(from_vector(data, {4, channels}), dtype), device);
  const Tensor leaf = ops::clone(x).set_requires_grad();
  relu(leaf).sum().backward();
  CHECK(ops::to_vector<double>(leaf.grad()) == passes);

  // The fused ReLU: zeros are normalised to 0, and the residual decides.
  const Tensor flat = ops::zeros_like(x), ones = ops::ones_like(x);
  const auto out = ops::batch_norm_training(flat, {}, {}, {}, {}, {.relu = true}, x, true);
  CHECK(ops::to_vector<double>(ops::unpack_relu_mask(out.relu_mask, x)) == passes);
  const auto grads = ops::batch_norm_backward(ones, flat, out.relu_mask, {}, out.save_mean, out.save_invstd,
                                              {.relu = true}, true);
  CHECK(ops::to_vector<double>(grads.residual) == passes);
}

TEST_CASE("batch norm's mask is read alike by threads that take one channel and those that take many") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat32, kBFloat16);
  const NormCase test = {"", {6, 16}, true, true, true};
  const Inputs in = make_inputs(test, dtype, device);
  const auto out =
      ops::batch_norm_training(in.x, in.weight, in.bias, {}, {}, {.relu = true}, in.residual, true);
  const Tensor grad = ops::to_device(random_tensor({6, 16}, dtype, 9), device);
  // The same numbers where no vector of 16 bytes begins.
  const Tensor shifted =
      views::narrow(empty({97}, {.dtype = dtype, .device = device}), 0, 1, 96).reshape({6, 16});
  ops::copy_(shifted, grad);
  for (const bool needs_residual : {true, false}) {
    const auto backward = [&](const Tensor& from) {
      return ops::batch_norm_backward(from, in.x, out.relu_mask, in.weight, out.save_mean, out.save_invstd,
                                      {.relu = true}, needs_residual);
    };
    const ops::BatchNormGrads aligned = backward(grad), unaligned = backward(shifted);
    check_close(unaligned.x, aligned.x, tolerance(dtype, 6));
    check_close(unaligned.bias, aligned.bias, tolerance(kFloat32, 6));
    if (needs_residual) check_close(unaligned.residual, aligned.residual, 0);
  }
}

TEST_CASE("batch norm's result is not kept for backward, only its mask of bits") {
  const Device device = GENERATE(from_range(test_devices()));
  const bool residual = GENERATE(true, false);
  const NormCase test = {"", {4, 64, 16, 8}, true, residual, true};
  Inputs in = make_inputs(test, kFloat32, device);
  in.x.set_requires_grad();
  const auto held = [&] { return allocator_for(device).stats().allocated_bytes; };
  Tensor y = batch_norm(in.x, in.weight, in.bias, {}, {}, true, {.relu = true}, in.residual);
  const auto with_y = held();
  Tensor total = sum(y);
  y = {};
  CHECK(held() <= with_y - int64_t(in.x.size_bytes()) + 1024);
  total.backward();
  CHECK(in.x.grad().defined());
}

TEST_CASE("batch norm's derivatives on a GPU are the CPU's") {
  const DType dtype = GENERATE(kFloat64, kFloat32);
  for (const NormCase& test : kCases) {
    if (numel(test.input) == 0) continue;
    INFO(test.name << ", " << name(dtype));
    const auto gradients = [&](Device device) {
      Inputs in = make_inputs(test, dtype, device);
      std::vector<Tensor*> leaves;
      for (Tensor* leaf : {&in.x, &in.weight, &in.bias, &in.residual}) {
        if (leaf->defined()) leaves.push_back(leaf);
      }
      for (Tensor* leaf : leaves) leaf->set_requires_grad();
      const Tensor y = batch_norm(in.x, in.weight, in.bias, {}, {}, true, {.relu = test.relu}, in.residual);
      y.backward(ops::to_device(random_tensor(test.input, dtype, 9), device));
      std::vector<Tensor> grads;
      for (const Tensor* leaf : leaves) grads.push_back(leaf->grad());
      return grads;
    };
    const std::vector<Tensor> on_gpu = gradients(Device("cuda")), on_cpu = gradients(Device("cpu"));
    for (size_t i = 0; i < on_cpu.size(); ++i) {
      // Twice: neither side is the truth, both are rounded.
      check_close(on_gpu[i], on_cpu[i], 2 * tolerance(dtype, numel(test.input) / test.input[1]));
    }
  }
}

TEST_CASE("batch norm's second derivatives on a GPU are the CPU's") {
  for (const NormCase& test : kCases) {
    if (numel(test.input) == 0 || numel(test.input) > 300) continue;
    INFO(test.name);
    const auto second = [&](Device device) {
      const Inputs in = make_inputs(test, kFloat64, device);
      std::vector<Tensor> wanted = {in.x};
      if (in.weight.defined()) wanted.push_back(in.weight);
      for (Tensor& leaf : wanted) leaf.set_requires_grad();
      const Tensor grad_y = ops::to_device(leaf(test.input, 9), device).detach().set_requires_grad();
      const Tensor y = batch_norm(in.x, in.weight, in.bias, {}, {}, true, {.relu = test.relu}, in.residual);
      const std::vector<Tensor> first = grad({y}, wanted, {grad_y}, {.create_graph = true});
      std::vector<Tensor> squares;
      for (const Tensor& g : first) squares.push_back(sum(square(g)));
      wanted.push_back(grad_y);
      return grad(squares, wanted);
    };
    const std::vector<Tensor> on_gpu = second(Device("cuda")), on_cpu = second(Device("cpu"));
    for (size_t i = 0; i < on_cpu.size(); ++i) {
      check_close(on_gpu[i], on_cpu[i], 16 * tolerance(kFloat64, numel(test.input)));
    }
  }
}

TEST_CASE("the variance of values far from zero does not cancel") {
  const Device device = GENERATE(from_range(test_devices()));
  std::vector<double> values(4000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 1e4 + std::sin(double(i));
  const Tensor x = ops::to_device(ops::cast(from_vector(values, {1000, 4}), kFloat32), device);
  const Statistics exact = statistics_of(x);
  const auto out = ops::batch_norm_training(x, {}, {}, {}, {}, {.eps = 0});
  const auto invstd = ops::to_vector<double>(out.save_invstd);
  for (size_t c = 0; c < 4; ++c) CHECK(invstd[c] == Approx(1 / std::sqrt(exact.var[c])).epsilon(1e-6));
}

TEST_CASE("batch norm is the same bits for any number of threads") {
  const int threads = num_threads();
  const Tensor x = random_tensor({30, 37, 13, 11}, kFloat32), grad = random_tensor(x.shape(), kFloat32, 2);
  std::vector<std::vector<float>> first;
  for (const int count : {1, 2, 3}) {
    set_num_threads(count);
    const auto out = ops::batch_norm_training(x, {}, {}, {}, {}, {.relu = true}, {}, true);
    const auto grads =
        ops::batch_norm_backward(grad, x, out.relu_mask, {}, out.save_mean, out.save_invstd, {.relu = true});
    const std::vector<std::vector<float>> results = {
        ops::to_vector<float>(out.y), ops::to_vector<float>(out.save_invstd), ops::to_vector<float>(grads.x),
        ops::to_vector<float>(grads.weight)};
    if (first.empty()) first = results;
    CHECK(results == first);
  }
  set_num_threads(threads);
}

TEST_CASE("batch norm refuses what does not fit") {
  const Tensor x = random_tensor({2, 3, 4, 4}), three = random_tensor({3}), four = random_tensor({4});
  CHECK_THROWS_WITH(
      ops::batch_norm_training(x, four, three, {}, {}),
      "batch_norm: weight must be [3], one for each channel of the input [2, 3, 4, 4], got [4]");
  CHECK_THROWS_WITH(ops::batch_norm_training(x, three, three, three, {}),
                    Catch::Contains("must be given together"));
  CHECK_THROWS_WITH(ops::batch_norm_training(x, {}, {}, {}, {}, {}, random_tensor({2, 3, 4, 5})),
                    Catch::Contains("residual must be as the input"));
  CHECK_THROWS_WITH(ops::batch_norm_training(random_tensor({1, 3, 1, 1}), {}, {}, {}, {}),
                    Catch::Contains("more than one value per channel, got input [1, 3, 1, 1]"));
  CHECK_THROWS_WITH(ops::batch_norm_training(random_tensor({2, 3, 4}), {}, {}, {}, {}),
                    Catch::Contains("[N, C] or [N, C, H, W]"));
  CHECK_THROWS_WITH(ops::batch_norm_training(x, ops::cast(three, kFloat32), {}, {}, {}),
                    Catch::Contains("weight must be f64 for an input of f64, got f32"));
  CHECK_THROWS_WITH(ops::batch_norm_training(ops::cast(x, kFloat16), three, {}, {}, {}),
                    Catch::Contains("weight must be f32 or f16 for an input of f16, got f64"));
  CHECK_THROWS_WITH(ops::batch_norm_inference(x, {}, {}, {}, {}),
                    Catch::Contains("needs running_mean and running_var"));
}

TEST_CASE("batch norm's derivatives of first and second order agree with finite differences") {
  const bool training = GENERATE(true, false);
  for (const NormCase& test : kCases) {
    if (numel(test.input) == 0 || numel(test.input) > 300) continue;
    INFO(test.name << (training ? ", training" : ", inference"));
    const Inputs in = make_inputs(test, kFloat64);
    std::vector<Tensor> wanted = {in.x};
    for (const Tensor& input : {in.weight, in.bias, in.residual}) {
      if (input.defined()) wanted.push_back(input);
    }
    for (Tensor& input : wanted) input.set_requires_grad();
    const Tensor mean = training ? Tensor() : random_tensor({test.input[1]}, kFloat64, 5);
    const Tensor var = training ? Tensor() : ops::square(random_tensor({test.input[1]}, kFloat64, 6));
    const auto normalize = [&](const std::vector<Tensor>& at) {
      size_t next = 1;
      const Tensor weight = test.affine ? at[next++] : Tensor(), bias = test.affine ? at[next++] : Tensor();
      return batch_norm(at[0], weight, bias, mean, var, training, {.eps = 1e-2, .relu = test.relu},
                        test.residual ? at[next] : Tensor());
    };
    CHECK(gradcheck(normalize, wanted));
    CHECK(gradgradcheck(normalize, wanted));
  }
}

TEST_CASE("batch norm agrees with PyTorch", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const OracleCase& test : oracle_cases("norm")) {
    const auto input = [&](const char* of) {
      const Tensor tensor = test[of];
      return tensor.defined() ? ops::to_device(tensor.detach(), device) : tensor;
    };
    Tensor x = input("x"), weight = input("weight"), bias = input("bias"), residual = input("residual");
    INFO(test.name << ", " << name(x.dtype()) << " " << x.shape().str() << " on " << device.str());
    for (Tensor* leaf : {&x, &weight, &bias, &residual}) {
      if (leaf->defined()) leaf->set_requires_grad();
    }
    const Tensor running_mean = input("running_mean"), running_var = input("running_var");
    const BatchNormOptions options = {
        .momentum = test.number("momentum"), .eps = test.number("eps"), .relu = test.flag("relu")};
    const Tensor y =
        batch_norm(x, weight, bias, running_mean, running_var, test.flag("training"), options, residual);
    y.backward(ops::to_device(oracle_gradient(y), device));
    const double tol = tolerance(x.dtype(), x.numel() / x.size(1));
    check_close(y, test["y"], tol);
    check_close(running_mean, test["mean_after"], tol);
    check_close(running_var, test["var_after"], tol);
    check_close(x.grad(), test["grad_x"], tol);
    if (weight.defined()) check_close(weight.grad(), test["grad_weight"], tol);
    if (bias.defined()) check_close(bias.grad(), test["grad_bias"], tol);
    if (residual.defined()) check_close(residual.grad(), test["grad_residual"], tol);
  }
}
