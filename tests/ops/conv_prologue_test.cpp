// Convolutions of relu(x * scale + shift): each candidate, their derivatives, PyTorch's numbers.

#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "taper/autograd/derivatives/conv.h"
#include "taper/autograd/gradcheck.h"
#include "taper/autograd/tape/engine.h"
#include "taper/core/views.h"
#include "taper/ops/conv/conv2d_call.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "tests/support/candidate_outputs.h"
#include "tests/support/conv_case.h"
#include "tests/support/few_engines.h"
#include "tests/support/moments.h"
#include "tests/support/oracle_cases.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

using namespace taper;
using ops::Conv2dCall;

namespace {

const std::vector<ConvCase> kCases = {
    {"3x3", {2, 16, 7, 6}, 32, 3, {.padding = 1}},
    {"3x3, odd channels, wide padding", {2, 5, 4, 5}, 7, 3, {.padding = 2}},
    {"3x3 stride 2 in groups", {2, 8, 7, 6}, 6, 3, {.stride = 2, .padding = 1, .groups = 2}},
    {"depthwise", {2, 9, 5, 6}, 9, 3, {.padding = 1, .groups = 9}},
    {"1x1", {2, 32, 5, 5}, 16, 1, {}},
    {"1x1 stride 2", {2, 12, 5, 6}, 7, 1, {.stride = 2}},
};

struct Operands {
  Tensor x, weight, scale, shift;
};

Operands random_operands(const ConvCase& test, DType dtype, Device device) {
  const auto image = [&](const Shape& shape, uint64_t seed) {
    return ops::contiguous(random_tensor(shape, dtype, seed).to(device), kChannelsLast);
  };
  const auto channels = [&](uint64_t seed) {
    return random_tensor({test.input[1]}, compute_dtype(dtype), seed).to(device);
  };
  return {image(test.input, 1), image(test.weight(), 2), channels(3), channels(4)};
}

/// By separate ops, in f64 on the CPU. Padding sees the zeros around relu(x * scale + shift).
Tensor expected(const ConvCase& test, const Operands& in, bool relu) {
  const auto wide = [](const Tensor& x) { return ops::cast(x.to(Device("cpu")), kFloat64); };
  const auto along = [&](const Tensor& row) { return views::view(wide(row), {1, test.input[1], 1, 1}); };
  Tensor z = ops::add(ops::mul(wide(in.x), along(in.scale)), along(in.shift));
  if (relu) z = ops::relu(z);
  return ops::conv2d(z, wide(in.weight), {}, test.options);
}

/// Returns the allowed error of sums over a filter, whose second factor half types may round once more.
double allowed(DType dtype, const ConvCase& test) {
  return 2 * tolerance(dtype, numel(test.weight()) / test.output_channels);
}

}  // namespace

TEST_CASE("each candidate convolves the input that its prologue makes") {
  const PoisonedMemory poisoned;
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat32, kFloat64, kFloat16, kBFloat16);
  if (device.is_cpu() && is_half(dtype)) return;  // converted before there is a call
  std::map<std::string, int> count;
  const FewEngines few;
  CandidateRuns runs;
  for (const ConvCase& test : kCases) {
    const Operands in = random_operands(test, dtype, device);
    for (const bool relu : {true, false}) {
      const Tensor truth = expected(test, in, relu);
      const auto conv = ops::conv2d_geometry("test", test.input, test.weight(), test.options);
      const Shape shape = conv.output_shape();
      const TensorOptions wide = {.dtype = compute_dtype(dtype), .device = device};
      Conv2dCall call = {
          .pass = ops::Conv2dPass::kForward,
          .conv = conv,
          .x = in.x,
          .weight = in.weight,
          .y = empty(shape, {.dtype = dtype, .device = device, .memory_format = kChannelsLast}),
          .prologue = {in.scale, in.shift, relu},
          .moments = {empty({conv.k}, wide), empty({conv.k}, wide)}};
      for (const auto& candidate :
           device.is_cpu() ? ops::conv2d_cpu_algorithms(call) : ops::conv2d_gpu_algorithms(call)) {
        INFO(test.name << ", " << candidate.name << (relu ? ", relu" : "") << ", " << name(dtype) << " on "
                       << device.str());
        if (!runs.run(candidate, call)) continue;
        const double errors = candidate.name.starts_with("winograd") ? kWinograd4x4Errors
                              : is_vendors(candidate.name)           ? library_errors(dtype)
                                                                     : 1;
        check_close(call.y, truth, errors * allowed(dtype, test), 1);
        check_moments(call.moments, call.y, gathered_by(candidate.name));
        ++count[candidate.name];
      }
    }
  }
  CHECK(count[device.is_cpu() ? "gemm" : "implicit gemm"] == int(2 * kCases.size()));
  CHECK(count["depthwise"] == 2);
}

TEST_CASE("prologues fit with epilogues, any dtype and no prologue at all") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat32, kFloat16, kBFloat16);
  for (const ConvCase& test : kCases) {
    INFO(test.name << ", " << name(dtype) << " on " << device.str());
    Operands in = random_operands(test, dtype, device);
    if (test.options.groups > 1) {  // parameters in the dtype of the image
      in.scale = ops::cast(in.scale, dtype);
      in.shift = ops::cast(in.shift, dtype);
    }
    const Conv2dPrologue prologue = {in.scale, in.shift};
    const Tensor bias = random_tensor({test.output_channels}, dtype, 5).to(device);
    const Tensor y = ops::conv2d_fused(in.x, in.weight, {.bias = bias, .relu = true}, test.options, prologue);
    const Tensor along = views::view(ops::cast(bias.to(Device("cpu")), kFloat64), {1, bias.size(0), 1, 1});
    check_close(y, ops::relu(ops::add(expected(test, in, true), along)), allowed(dtype, test), 1);
    check_close(ops::conv2d_moments(in.x, in.weight, test.options, prologue).y, expected(test, in, true),
                allowed(dtype, test), 1);
    check_close(ops::conv2d_fused(in.x, in.weight, {}, test.options, {}),
                ops::conv2d(in.x, in.weight, {}, test.options));
  }
}

TEST_CASE("a prologue that does not fit is refused") {
  const Tensor x = random_tensor({1, 3, 5, 5}), weight = random_tensor({4, 3, 3, 3}),
               three = random_tensor({3});
  const auto run = [&](const Conv2dPrologue& prologue) { ops::conv2d_fused(x, weight, {}, {}, prologue); };
  CHECK_THROWS_WITH(run({three, {}}), "conv2d_fused: the prologue's scale and shift must be given together");
  CHECK_THROWS_WITH(run({three, random_tensor({4})}),
                    Catch::Contains("must be f64 or f64 [3] for the input [1, 3, 5, 5], got f64 [4]"));
  CHECK_THROWS_WITH(run({ops::cast(three, kFloat32), three}), Catch::Contains("got f32 [3]"));
}

TEST_CASE("a prologue's derivatives of first and second order agree with finite differences") {
  const bool relu = GENERATE(true, false), moments = GENERATE(true, false);
  const Conv2dOptions options = {.stride = {2, 1}, .padding = 1};
  const auto convolve = [&](const std::vector<Tensor>& at) {
    const Conv2dPrologue prologue = {at[2], at[3], relu};
    if (moments) return conv2d_moments(at[0], at[1], options, prologue).y;
    return conv2d_fused(at[0], at[1], {.bias = at[4]}, options, prologue);
  };
  std::vector<Tensor> inputs = {leaf({2, 2, 4, 3}), leaf({3, 2, 3, 3}, 2), leaf({2}, 3), leaf({2}, 4)};
  if (!moments) inputs.push_back(leaf({3}, 5));
  CHECK(gradcheck(convolve, inputs));
  CHECK(gradgradcheck(convolve, inputs));
}

TEST_CASE("convolution with a prologue agrees with PyTorch", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const OracleCase& test : oracle_cases("conv_prologue")) {
    std::map<std::string, Tensor> leaves;
    for (const char* name : {"x", "weight", "scale", "shift"})
      leaves[name] = ops::to_device(test[name].detach(), device).set_requires_grad();
    const Tensor &x = leaves["x"], &weight = leaves["weight"];
    const DType dtype = x.dtype();
    INFO(test.name << ", " << name(dtype) << " on " << device.str());
    const Tensor y = conv2d_fused(x, weight, {},
                                  {.stride = int64_t(test.number("stride")),
                                   .padding = int64_t(test.number("padding")),
                                   .groups = int64_t(test.number("groups"))},
                                  {leaves["scale"], leaves["shift"], test.number("relu") != 0});
    y.backward(ops::to_device(oracle_gradient(y), device));
    const int64_t pixels = y.numel() / y.size(1), through = weight.numel() / weight.size(1);
    const int64_t filter = weight.numel() / weight.size(0);
    // Each term has a factor that was rounded separately, so errors grow with the number of terms as the sums
    // do.
    check_close(y, test["y"], 2 * tolerance(dtype, filter), std::sqrt(double(filter)));
    check_close(x.grad(), test["grad_x"], 2 * tolerance(dtype, through), std::sqrt(double(through)));
    check_close(weight.grad(), test["grad_weight"], 2 * tolerance(dtype, pixels), std::sqrt(double(pixels)));
    for (const char* name : {"scale", "shift"}) {
      check_close(leaves[name].grad(), test[std::string("grad_") + name],
                  2 * tolerance(dtype, pixels * through), std::sqrt(double(pixels * through)));
    }
  }
}
