// Convolution: against a plain loop in f64, as three maps that are each other's transposes, and PyTorch's
// numbers.

#include <catch2/catch.hpp>
#include <cmath>

#include "taper/autograd/derivatives/conv.h"
#include "taper/autograd/gradcheck.h"
#include "taper/core/base/parallel.h"
#include "taper/core/views.h"
#include "taper/ops/conv/conv2d.h"
#include "taper/ops/conv/conv2d_call.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "tests/support/algorithm_mode.h"
#include "tests/support/candidate_outputs.h"
#include "tests/support/conv_case.h"
#include "tests/support/few_engines.h"
#include "tests/support/gpu_derivatives.h"
#include "tests/support/oracle_cases.h"
#include "tests/support/test_tensors.h"
#include "tests/support/time_limit.h"
#include "tests/support/tolerance.h"

using namespace taper;

namespace {

const std::vector<ConvCase> kCases = {
    {"1x1", {2, 3, 5, 4}, 6, 1, {}},
    {"1x1 stride 2", {3, 4, 5, 6}, 2, 1, {.stride = 2}},
    {"1x1 with padding", {1, 2, 2, 3}, 3, 1, {.padding = 1}},
    {"3x3", {2, 3, 7, 6}, 4, 3, {.padding = 1}},
    {"3x3 no padding", {2, 3, 7, 6}, 4, 3, {}},
    {"3x3 stride 2", {2, 5, 8, 7}, 3, 3, {.stride = 2, .padding = 1}},
    {"7x7 stride 2", {2, 3, 19, 16}, 5, 7, {.stride = 2, .padding = 3}},
    {"one pixel, 3x3", {5, 3, 1, 1}, 4, 3, {.padding = 1}},
    {"four pixels, 3x3", {70, 2, 2, 2}, 3, 3, {.padding = 1}},
    {"rectangles", {2, 3, 6, 9}, 4, {2, 5}, {.stride = {1, 2}, .padding = {0, 3}}},
    {"dilation", {2, 2, 9, 8}, 3, 3, {.padding = 2, .dilation = 2}},
    {"dilation and stride", {1, 2, 11, 13}, 3, {3, 2}, {.stride = {2, 3}, .padding = 1, .dilation = {3, 2}}},
    {"stride beyond the kernel", {2, 3, 10, 11}, 2, 2, {.stride = 4}},
    {"padding beyond the kernel", {1, 2, 2, 2}, 2, 2, {.padding = 4}},
    {"groups", {2, 6, 5, 5}, 4, 3, {.padding = 1, .groups = 2}},
    {"depthwise", {2, 5, 6, 6}, 5, 3, {.stride = 2, .padding = 1, .groups = 5}},
    {"depthwise, many pixels", {12, 37, 9, 10}, 37, 3, {.padding = 1, .groups = 37}},
    {"depthwise, rectangles",
     {2, 3, 8, 7},
     3,
     {2, 4},
     {.stride = {3, 1}, .padding = {0, 2}, .dilation = {2, 1}, .groups = 3}},
    {"depthwise, two outputs each", {2, 3, 4, 6}, 6, 3, {.padding = 1, .groups = 3}},
    {"large images", {1, 3, 40, 41}, 5, 3, {.padding = 1}},
    {"many channels", {1, 130, 3, 3}, 150, 3, {.padding = 1}},
    {"even kernel", {1, 1, 4, 4}, 1, {4, 2}, {.padding = {2, 1}}},
    {"batch of none", {0, 3, 4, 4}, 2, 3, {.padding = 1}},
    {"no output channels", {2, 3, 4, 4}, 0, 3, {.padding = 1}},
    {"no input channels", {2, 0, 4, 4}, 2, 3, {.padding = 1}},
};

struct References {
  Tensor y, grad_x, grad_weight;
};

/// Returns all three results by the definition, in f64.
References by_definition(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& o,
                         const Shape& output, const Tensor& grad) {
  const auto values = ops::to_vector<double>(x), weights = ops::to_vector<double>(weight);
  const auto grads = ops::to_vector<double>(grad);
  const Shape in = x.shape(), w = weight.shape();
  std::vector<double> y(size_t(numel(output))), grad_x(values.size()), grad_weight(weights.size());
  const int64_t group_c = in[1] / o.groups, group_k = output[1] / o.groups;
  size_t out = 0;
  for (int64_t n = 0; n < output[0]; ++n) {
    for (int64_t k = 0; k < output[1]; ++k) {
      for (int64_t p = 0; p < output[2]; ++p) {
        for (int64_t q = 0; q < output[3]; ++q, ++out) {
          if (bias.defined()) y[out] = ops::to_vector<double>(bias)[size_t(k)];
          for (int64_t c = 0; c < group_c; ++c) {
            for (int64_t r = 0; r < w[2]; ++r) {
              for (int64_t s = 0; s < w[3]; ++s) {
                const int64_t h = p * o.stride.h - o.padding.h + r * o.dilation.h;
                const int64_t column = q * o.stride.w - o.padding.w + s * o.dilation.w;
                if (h < 0 || h >= in[2] || column < 0 || column >= in[3]) continue;
                const auto i = size_t(((n * in[1] + k / group_k * group_c + c) * in[2] + h) * in[3] + column);
                const auto j = size_t(((k * group_c + c) * w[2] + r) * w[3] + s);
                y[out] += values[i] * weights[j];
                grad_x[i] += grads[out] * weights[j];
                grad_weight[j] += grads[out] * values[i];
              }
            }
          }
        }
      }
    }
  }
  return {from_vector(y, output), from_vector(grad_x, in), from_vector(grad_weight, w)};
}

}  // namespace

TEST_CASE("convolution and its gradients agree with the definition") {
  const PoisonedMemory poisoned;
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  const MemoryFormat format = GENERATE(kContiguous, kChannelsLast);
  for (const ConvCase& test : kCases) {
    INFO(test.name << ", " << name(dtype)
                   << (format == kChannelsLast ? ", channels_last, on " : ", row-major, on ")
                   << device.str());
    const auto random = [&](const Shape& shape, uint64_t seed) {
      return random_tensor(shape, dtype, seed).to(device);
    };
    const Tensor x = ops::contiguous(random(test.input, 1), format);
    const Tensor weight = ops::contiguous(random(test.weight(), 2), format);
    const Tensor bias = random({test.output_channels}, 3);
    const Tensor y = ops::conv2d(x, weight, bias, test.options);
    const Tensor grad = ops::contiguous(random(y.shape(), 4), format);
    const Tensor grad_x = ops::conv2d_backward_input(grad, weight, x.shape(), test.options);
    const Tensor grad_weight = ops::conv2d_backward_weight(grad, x, weight.shape(), test.options);

    const References expected = by_definition(x, weight, bias, test.options, y.shape(), grad);
    const int64_t filter = numel(test.weight()) / std::max<int64_t>(test.output_channels, 1);
    const auto allowed = [&](int64_t terms) { return conv_tolerance(device, dtype, terms); };
    check_close(y, expected.y, allowed(filter));
    check_close(ops::conv2d(x, weight, {}, test.options),
                by_definition(x, weight, {}, test.options, y.shape(), grad).y, allowed(filter));
    check_close(grad_x, expected.grad_x, allowed(test.output_channels * test.kernel.h * test.kernel.w));
    check_close(grad_weight, expected.grad_weight, allowed(y.numel() / std::max<int64_t>(y.size(1), 1)));
    for (const Tensor& result : {y, grad_x, grad_weight}) {
      CHECK(result.dtype() == dtype);
      CHECK(result.device() == device);
      CHECK(result.is_contiguous(kChannelsLast));
    }
    if (!is_half(dtype)) continue;
    const Tensor unrounded =
        ops::conv2d_backward_weight(grad, x, weight.shape(), test.options, compute_dtype(dtype));
    CHECK(unrounded.dtype() == kFloat32);
    CHECK(unrounded.is_contiguous(kChannelsLast));
    check_close(unrounded, expected.grad_weight,
                conv_tolerance(device, kFloat32, y.numel() / std::max<int64_t>(y.size(1), 1)));
    const bool library = ops::engine_library(ops::VendorLibrary::kCudnn) != nullptr;
    check_close(ops::cast(unrounded, dtype), grad_weight, library ? tolerance(dtype) : 0);
  }
}

TEST_CASE("the three convolutions are one trilinear form") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const ConvCase& test : kCases) {
    INFO(test.name << " on " << device.str());
    const auto random = [&](const Shape& shape, uint64_t seed) {
      return random_tensor(shape, kFloat64, seed).to(device);
    };
    const Tensor x = random(test.input, 5), weight = random(test.weight(), 6);
    const Tensor y = ops::conv2d(x, weight, {}, test.options);
    const Tensor grad = random(y.shape(), 7);
    const double value = dot(y, grad);
    CHECK(dot(x, ops::conv2d_backward_input(grad, weight, x.shape(), test.options)) ==
          Approx(value).margin(1e-10));
    CHECK(dot(weight, ops::conv2d_backward_weight(grad, x, weight.shape(), test.options)) ==
          Approx(value).margin(1e-10));
  }
}

TEST_CASE("a fused convolution is the convolution, then the residual, then the ReLU") {
  const PoisonedMemory poisoned;
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat32, kBFloat16);
  for (const ConvCase& test : kCases) {
    const auto random = [&](const Shape& shape, uint64_t seed) {
      return random_tensor(shape, dtype, seed).to(device);
    };
    const Tensor x = random(test.input, 1), weight = random(test.weight(), 2);
    const Tensor bias = random({test.output_channels}, 3);
    const auto wide = [](const Tensor& operand) { return ops::cast(operand, kFloat64); };
    const Tensor plain = ops::conv2d(wide(x), wide(weight), wide(bias), test.options);
    const Tensor residual = random(plain.shape(), 4);  // row-major: converted at entry
    const Tensor sum = ops::add(plain, wide(residual));
    const double bound =
        conv_tolerance(device, dtype, numel(test.weight()) / std::max<int64_t>(test.output_channels, 1));
    INFO(test.name << ", " << name(dtype) << ", on " << device.str());
    const auto fused = [&](const Conv2dEpilogue& epilogue) {
      const Tensor y = ops::conv2d_fused(x, weight, epilogue, test.options);
      CHECK(y.dtype() == dtype);
      CHECK(y.is_contiguous(kChannelsLast));
      return y;
    };
    check_close(fused({.bias = bias, .relu = true}), ops::relu(plain), bound);
    check_close(fused({.bias = bias, .residual = residual, .relu = true}), ops::relu(sum), bound);
    check_close(fused({.residual = residual}),
                ops::add(ops::conv2d(wide(x), wide(weight), {}, test.options), wide(residual)), bound);
  }
}

TEST_CASE("a constant weight gives the same bits, call after call, and notices writes") {
  const AlgorithmModeGuard same_bits(AlgorithmMode::kDeterministic);
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat32, kBFloat16);
  for (const ConvCase& test : kCases) {
    INFO(test.name << ", " << name(dtype) << ", on " << device.str());
    const Tensor x = random_tensor(test.input, dtype, 1).to(device);
    const Tensor weight = random_tensor(test.weight(), dtype, 2).to(device);
    const ops::ConstantWeight constant(weight);
    const auto expected = ops::to_vector<double>(ops::conv2d_fused(x, weight, {.relu = true}, test.options));
    for (int call = 0; call < 2; ++call) {
      CHECK(ops::to_vector<double>(ops::conv2d_fused(x, constant, {.relu = true}, test.options)) == expected);
    }
  }
  const Tensor weight = ops::contiguous(random_tensor({4, 3, 3, 3}, dtype).to(device), kChannelsLast);
  const ops::ConstantWeight constant(weight);
  const Tensor x = random_tensor({1, 3, 5, 5}, dtype).to(device);
  ops::conv2d_fused(x, constant);
  ops::fill_(weight, 1);
  CHECK_THROWS_WITH(ops::conv2d_fused(x, constant), Catch::Contains("written to since"));
  CHECK_THROWS_WITH(ops::ConstantWeight(Tensor()),
                    Catch::Contains("ConstantWeight: the weight is an undefined"));
}

TEST_CASE("a fused convolution lets NaN through its ReLU, where Taper computes it") {
  const Device device = GENERATE(from_range(test_devices()));
  const FewEngines few;
  CandidateRuns runs;
  int clamped = 0;
  for (const int64_t groups : {1, 16}) {
    for (const int64_t kernel : {1, 3}) {
      const Shape filters = {groups == 1 ? 32 : 16, 16 / groups, kernel, kernel};
      const auto conv =
          ops::conv2d_geometry("test", {1, 16, 6, 6}, filters, {.padding = kernel / 2, .groups = groups});
      const auto full = [&](const Shape& shape, double value) {
        return ops::contiguous(ops::full(shape, value).to(device), kChannelsLast);
      };
      const ops::Conv2dCall call = {.pass = ops::Conv2dPass::kForward,
                                    .conv = conv,
                                    .x = full({1, 16, 6, 6}, std::nan("")),
                                    .weight = full(filters, 1),
                                    .y = full(conv.output_shape(), 0),
                                    .relu = true};
      for (const auto& candidate :
           device.is_cpu() ? ops::conv2d_cpu_algorithms(call) : ops::conv2d_gpu_algorithms(call)) {
        INFO(candidate.name << ", kernel " << kernel << ", groups " << groups << " on " << device.str());
        ops::fill_(call.y, 1);
        if (!runs.run(candidate, call)) continue;
        const auto values = ops::to_vector<double>(call.y);
        const bool nan = std::all_of(values.begin(), values.end(), [](double y) { return std::isnan(y); });
        // max(NaN, 0) is 0 to hardware and to libraries' ReLU, unless they take care.
        const bool zero = std::all_of(values.begin(), values.end(), [](double y) { return y == 0; });
        CHECK((nan || (zero && is_vendors(candidate.name))));
        clamped += int(zero);
      }
    }
  }
  CHECK(runs.computed() >= 4);
  if (clamped > 0) WARN(clamped << " of " << runs.computed() << " candidates, all a vendor's, make NaN 0");
}

TEST_CASE("every candidate on the GPU computes the same convolution") {
  if (gpu::device_count() == 0) return;
  const PoisonedMemory poisoned;
  const DType dtype = GENERATE(kFloat32, kBFloat16);
  const auto pass =
      GENERATE(ops::Conv2dPass::kForward, ops::Conv2dPass::kBackwardInput, ops::Conv2dPass::kBackwardWeight);
  const FewEngines few;
  static TimeLimit limit;  // of all dtypes and passes together
  CandidateRuns runs;
  for (const ConvCase& test : kCases) {
    const auto conv = ops::conv2d_geometry("test", test.input, test.weight(), test.options);
    const auto make = [&](const Shape& shape, uint64_t seed) {
      return ops::contiguous(random_tensor(shape, dtype, seed).to(Device("cuda")), kChannelsLast);
    };
    const Tensor x = make(test.input, 1), weight = make(test.weight(), 2),
                 grad = make(conv.output_shape(), 3);
    const bool forward = pass == ops::Conv2dPass::kForward,
               by_weight = pass == ops::Conv2dPass::kBackwardWeight;
    const Shape shape = forward ? conv.output_shape() : by_weight ? test.weight() : test.input;
    if (numel(shape) == 0 || !limit.takes_one_more()) continue;
    ops::Conv2dCall call = {.pass = pass, .conv = conv, .x = x, .weight = weight, .y = grad};
    if (forward) {
      call.bias = random_tensor({test.output_channels}, dtype, 4).to(Device("cuda"));
      call.residual = grad;
      call.relu = true;
    }
    const auto poison_result = [&] {
      *call.outputs()[0] =
          empty(shape, {.dtype = dtype, .device = Device("cuda"), .memory_format = kChannelsLast});
    };
    poison_result();
    const int64_t terms = forward     ? numel(test.weight()) / test.output_channels
                          : by_weight ? conv.n * conv.p * conv.q
                                      : test.output_channels * conv.taps();
    Tensor first;
    for (const auto& candidate : ops::conv2d_gpu_algorithms(call)) {
      INFO(test.name << ", " << candidate.name << ", pass " << int(pass) << ", " << name(dtype));
      poison_result();
      if (!runs.run(candidate, call)) continue;
      if (!first.defined()) first = call.result();
      const double errors = is_vendors(candidate.name) ? library_errors(dtype) : 1;
      check_close(call.result(), first, 2 * errors * tolerance(dtype, terms));
      limit.checked();
    }
  }
  limit.report();
}

TEST_CASE("a shifted image gives a shifted result") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor image = random_tensor({1, 3, 8, 8}).to(device),
               weight = random_tensor({4, 3, 3, 3}, kFloat64, 2).to(device);
  const Tensor y = ops::conv2d(image, weight);
  const Tensor shifted = ops::conv2d(views::slice(views::slice(image, 2, 2, 8), 3, 1, 8), weight);
  check_close(shifted, views::slice(views::slice(y, 2, 2, 6), 3, 1, 6), tolerance(kFloat64, 27));
}

TEST_CASE("convolutions are the same bits for any number of threads") {
  const int threads = num_threads();
  for (const Conv2dOptions& options :
       {Conv2dOptions{.padding = 1}, Conv2dOptions{.stride = 2, .padding = 1},
        Conv2dOptions{.padding = 1, .groups = 4}, Conv2dOptions{.groups = 32}}) {
    const Tensor x = random_tensor({40, 32, 9, 9}, kFloat32);
    const Shape filters = {options.groups > 1 ? 32 : 70, 32 / options.groups, 3, 3};
    const Tensor weight = random_tensor(filters, kFloat32, 2);
    std::vector<std::vector<float>> first;
    for (const int count : {1, 2, 3}) {
      set_num_threads(count);
      const Tensor y = ops::conv2d(x, weight, {}, options);
      const std::vector<std::vector<float>> results = {
          ops::to_vector<float>(y),
          ops::to_vector<float>(ops::conv2d_backward_input(y, weight, x.shape(), options)),
          ops::to_vector<float>(ops::conv2d_backward_weight(y, x, weight.shape(), options))};
      if (first.empty()) first = results;
      CHECK(results == first);
    }
  }
  set_num_threads(threads);
}

TEST_CASE("convolution reads views in place of copies") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor x = random_tensor({4, 6, 9, 8}).to(device),
               weight = random_tensor({5, 3, 3, 3}, kFloat64, 2).to(device);
  const Tensor part = views::slice(views::slice(x, 1, 0, 6, 2), 2, 1, 8);
  const Tensor flipped = views::transpose(weight, 2, 3);
  check_close(ops::conv2d(part, flipped), ops::conv2d(ops::clone(part), ops::contiguous(flipped)), 0);
}

TEST_CASE("convolution refuses what does not fit") {
  const Tensor x = random_tensor({8, 3, 224, 224}, kFloat32), weight = random_tensor({8, 64, 3, 3}, kFloat32);
  const auto message = [&](const Tensor& input, const Tensor& filter, const Tensor& bias,
                           const Conv2dOptions& options) {
    try {
      ops::conv2d(input, filter, bias, options);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("nothing thrown");
  };
  CHECK(message(x, weight, {}, {}) ==
        "conv2d: weight has 64 input channels but input [8, 3, 224, 224] has 3 (groups = 1)");
  const Tensor small = random_tensor({2, 4, 3, 3}, kFloat32), filter = random_tensor({6, 4, 5, 5}, kFloat32);
  CHECK_THAT(message(small, filter, {}, {}), Catch::Contains("covers 5 pixels along the height"));
  CHECK_THAT(message(small, filter, {}, {.padding = 1, .groups = 4}), Catch::Contains("groups = 4"));
  CHECK_THAT(message(small, random_tensor({6, 1, 1, 1}, kFloat32), {}, {.groups = 4}),
             Catch::Contains("6 output channels do not divide into 4 groups"));
  CHECK_THAT(message(small, filter, random_tensor({5}, kFloat32), {.padding = 1}),
             Catch::Contains("bias must be [6]"));
  CHECK_THAT(message(small, ops::cast(filter, kFloat64), {}, {.padding = 1}),
             Catch::Contains("one dtype, got f32 and f64"));
  CHECK_THAT(message(small, filter, {}, {.stride = 0}), Catch::Contains("stride must be at least 1"));
  CHECK_THAT(message(small, filter, {}, {.dilation = 0}), Catch::Contains("dilation must be at least 1"));
  CHECK_THAT(message(small, filter, {}, {.padding = -1}), Catch::Contains("padding must not be negative"));
  CHECK_THAT(message(small, filter, {}, {.groups = 0}), Catch::Contains("groups must be at least 1"));
  CHECK_THAT(message(random_tensor({4, 3, 3}), filter, {}, {}),
             Catch::Contains("input must be [N, C, H, W]"));
  CHECK_THAT(message(Tensor(), filter, {}, {}), Catch::Contains("conv2d: the input is an undefined tensor"));
  CHECK_THAT(message(ops::cast(small, kInt64), filter, {}, {.padding = 1}), Catch::Contains("floating"));
  CHECK_THROWS_WITH(
      ops::conv2d_fused(small, filter, {.residual = random_tensor({2, 6, 3, 1}, kFloat32)}, {.padding = 2}),
      Catch::Contains("conv2d_fused: residual must be [2, 6, 3, 3], got [2, 6, 3, 1]"));
  CHECK_THROWS_WITH(
      ops::conv2d_fused(small, filter, {.residual = random_tensor({2, 6, 3, 3}, kFloat64)}, {.padding = 2}),
      Catch::Contains("residual must have the input's dtype f32, got f64"));
  CHECK_THROWS_WITH(
      ops::conv2d_backward_input(random_tensor({2, 6, 3, 3}), random_tensor({6, 4, 3, 3}), {2, 4, 4, 4}),
      Catch::Contains("grad must have the output's shape [2, 6, 2, 2]"));
  CHECK_THROWS_WITH(
      ops::conv2d_backward_weight(random_tensor({2, 6, 3, 3}), random_tensor({2, 4, 4, 4}), {6, 4, 3, 3}),
      Catch::Contains("grad must have the output's shape [2, 6, 2, 2]"));
  const Tensor image = random_tensor({1, 1, 2, 2}, kFloat16);
  CHECK_THROWS_WITH(ops::conv2d_backward_weight(image, image, {1, 1, 1, 1}, {}, kBFloat16),
                    "conv2d_backward_weight: the result can be f16 or f32, not bf16; convert it with .to()");
}

TEST_CASE("convolution's derivatives of first and second order agree with finite differences") {
  for (const ConvCase& test : kCases) {
    if (numel(test.input) == 0 || numel(test.input) > 400 || numel(test.weight()) > 300) continue;
    INFO(test.name);
    const auto leaf = [](const Shape& shape, uint64_t seed) {
      return random_tensor(shape, kFloat64, seed).set_requires_grad();
    };
    const Tensor x = leaf(test.input, 1), weight = leaf(test.weight(), 2),
                 bias = leaf({test.output_channels}, 3);
    const Conv2dOptions& options = test.options;
    const auto convolve = [&](const std::vector<Tensor>& in) { return conv2d(in[0], in[1], in[2], options); };
    CHECK(gradcheck(convolve, {x, weight, bias}));
    if (numel(test.input) > 150 || numel(test.weight()) > 150) continue;
    CHECK(gradgradcheck(convolve, {x, weight, bias}));

    const Tensor grad = leaf(ops::conv2d(x, weight, {}, options).shape(), 4);
    for (const bool relu : {false, true}) {
      CHECK(gradcheck(
          [&](const std::vector<Tensor>& in) {
            return conv2d_fused(in[0], in[1], {.bias = in[2], .residual = in[3], .relu = relu}, options);
          },
          {x, weight, bias, grad}));
    }
    CHECK(gradgradcheck(
        [&](const std::vector<Tensor>& in) {
          return conv2d_backward_input(in[0], in[1], x.shape(), options);
        },
        {grad, weight}));
    CHECK(gradgradcheck(
        [&](const std::vector<Tensor>& in) {
          return conv2d_backward_weight(in[0], in[1], weight.shape(), options);
        },
        {grad, x}));
  }
}

TEST_CASE("convolution's derivatives on a GPU are the CPU's") {
  for (const ConvCase& test : kCases) {
    if (numel(test.input) == 0 || numel(test.input) > 400 || numel(test.weight()) == 0) continue;
    INFO(test.name);
    const Conv2dOptions& options = test.options;
    const std::vector<Tensor> inputs = {random_tensor(test.input, kFloat64, 1),
                                        random_tensor(test.weight(), kFloat64, 2),
                                        random_tensor({test.output_channels}, kFloat64, 3)};
    const Tensor y = ops::conv2d(inputs[0], inputs[1], {}, options);
    const int64_t terms = std::max(numel(test.weight()), y.numel());
    check_gpu_derivatives([&](const std::vector<Tensor>& in) { return conv2d(in[0], in[1], in[2], options); },
                          inputs, terms);
    std::vector<Tensor> fused = inputs;
    fused.push_back(random_tensor(y.shape(), kFloat64, 4));
    // Rounded to a half type, a result may move to the other side of 0.
    check_gpu_derivatives(
        [&](const std::vector<Tensor>& in) {
          return conv2d_fused(in[0], in[1], {.bias = in[2], .residual = in[3], .relu = true}, options);
        },
        fused, terms, {kFloat64, kFloat32});
  }
}

TEST_CASE("convolution gives gradients only where they are wanted") {
  const Tensor x = random_tensor({2, 3, 4, 4}), weight = random_tensor({2, 3, 3, 3}).set_requires_grad();
  conv2d(x, weight).sum().backward();
  CHECK(weight.grad().shape() == weight.shape());
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("convolution agrees with PyTorch", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  const auto pair = [](const std::vector<int64_t>& values) { return IntPair(values.at(0), values.at(1)); };
  for (const OracleCase& test : oracle_cases("conv")) {
    const auto input = [&](const char* of) {
      const Tensor tensor = test[of];
      return tensor.defined() ? ops::to_device(tensor.detach(), device) : tensor;
    };
    Tensor x = input("x"), weight = input("weight"), bias = input("bias");
    INFO(test.name << ", " << name(x.dtype()) << " on " << device.str());
    for (Tensor* leaf : {&x, &weight, &bias}) {
      if (leaf->defined()) leaf->set_requires_grad();
    }
    const Tensor y = conv2d(x, weight, bias,
                            {.stride = pair(test.list("stride")),
                             .padding = pair(test.list("padding")),
                             .dilation = pair(test.list("dilation")),
                             .groups = int64_t(test.number("groups"))});
    y.backward(ops::to_device(oracle_gradient(y), device));
    const DType dtype = x.dtype();
    const int64_t filter = weight.numel() / weight.size(0), pixels = y.numel() / y.size(1);
    const auto allowed = [&](int64_t terms) { return conv_tolerance(device, dtype, terms); };
    check_close(y, test["y"], allowed(filter));
    check_close(x.grad(), test["grad_x"], allowed(weight.numel() / weight.size(1)));
    check_close(weight.grad(), test["grad_weight"], allowed(pixels));
    if (bias.defined()) check_close(bias.grad(), test["grad_bias"], tolerance(dtype, pixels));
  }
}
