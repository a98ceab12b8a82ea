// Each candidate for a convolution on the CPU by itself: against direct sums in f64, and how much accuracy
// Winograd's algorithms lose.

#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <map>
#include <optional>

#include "taper/core/base/cpu_level.h"
#include "taper/core/base/parallel.h"
#include "taper/ops/conv/conv2d.h"
#include "taper/ops/conv/conv2d_call.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "tests/support/candidate_outputs.h"
#include "tests/support/conv_case.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

using namespace taper;
using ops::Conv2dCall;
using ops::Conv2dPass;

namespace {

const std::vector<ConvCase> kCases = {
    {"3x3", {2, 16, 12, 12}, 32, 3, {.padding = 1}},
    {"3x3, odd images", {3, 32, 7, 9}, 16, 3, {.padding = 1}},
    {"3x3 without padding", {2, 48, 9, 6}, 80, 3, {}},
    {"3x3, padding 2", {2, 16, 5, 4}, 16, 3, {.padding = 2}},
    {"3x3, padding 3", {2, 16, 5, 4}, 16, 3, {.padding = 3}},
    {"3x3, padding 0 and 2", {1, 16, 6, 5}, 32, 3, {.padding = {0, 2}}},
    {"3x3, one pixel", {5, 16, 1, 1}, 16, 3, {.padding = 1}},
    {"3x3, images of nine pixels give one", {3, 16, 3, 3}, 16, 3, {}},
    {"3x3, more channels than a panel is deep", {2, 304, 5, 5}, 272, 3, {.padding = 1}},
    {"3x3, more tiles than a batch", {2, 16, 94, 90}, 16, 3, {.padding = 1}},
    {"3x3, few channels", {2, 3, 8, 7}, 5, 3, {.padding = 1}},
    {"3x3 stride 2", {2, 16, 9, 8}, 32, 3, {.stride = 2, .padding = 1}},
    {"3x3 dilated", {2, 16, 9, 8}, 32, 3, {.padding = 2, .dilation = 2}},
    {"3x3 in groups", {2, 32, 6, 7}, 32, 3, {.padding = 1, .groups = 2}},
    {"3x3 in groups of 32 channels", {3, 64, 7, 5}, 64, 3, {.padding = 1, .groups = 2}},
    {"1x1 in groups of 32 channels", {2, 96, 5, 6}, 96, 1, {.groups = 3}},
    {"3x3 of 32 channels without padding", {2, 32, 9, 7}, 64, 3, {}},
    {"3x3 of 32 channels, dilated, padding 0 and 2",
     {2, 32, 9, 8},
     32,
     3,
     {.padding = {0, 2}, .dilation = 2}},
    {"3x3 of 32 channels gives one pixel", {1, 32, 3, 3}, 32, 3, {}},
    {"depthwise", {3, 33, 8, 9}, 33, 3, {.padding = 1, .groups = 33}},
    {"depthwise stride 2", {3, 16, 8, 9}, 16, 5, {.stride = 2, .padding = 2, .groups = 16}},
    {"1x1", {2, 70, 7, 6}, 37, 1, {}},
    {"1x1 stride 2", {2, 64, 7, 6}, 33, 1, {.stride = 2}},
    {"7x7 stride 2", {2, 3, 30, 29}, 16, 7, {.stride = 2, .padding = 3}},
    {"1x1, more channels than a panel is deep", {1, 1100, 4, 4}, 40, 1, {}},
    {"2x5", {2, 6, 9, 11}, 9, {2, 5}, {.stride = {1, 2}, .padding = {1, 3}}},
};

const DType kDTypes[] = {kFloat32, kBFloat16, kFloat16};

struct Operands {
  Tensor x, weight, bias, grad;
};

/// Returns f32 tensors of numbers that `dtype` can hold.
Operands random_operands(const ConvCase& test, uint64_t seed = 0, DType dtype = kFloat32) {
  const Shape filters = test.weight();
  const auto random = [&](const Shape& shape, uint64_t number) {
    return ops::cast(random_tensor(shape, dtype, seed + number), kFloat32);
  };
  const auto make = [&](const Shape& shape, uint64_t number) {
    return ops::contiguous(random(shape, number), kChannelsLast);
  };
  const auto conv = ops::conv2d_geometry("test", test.input, filters, test.options);
  return {make(test.input, 1), make(filters, 2), random({test.output_channels}, 3),
          make(conv.output_shape(), 4)};
}

/// One pass over the operands in `dtype`, its result not yet computed.
Conv2dCall make_call(Conv2dPass pass, const ConvCase& test, const Operands& operands, DType dtype = kFloat32,
                     std::optional<DType> result_dtype = {}) {
  const auto conv = ops::conv2d_geometry("test", operands.x.shape(), operands.weight.shape(), test.options);
  const auto operand = [&](const Tensor& x, Conv2dPass written_in) {
    if (pass != written_in) return ops::cast(x, dtype);
    return empty(x.shape(), {.dtype = result_dtype.value_or(dtype), .memory_format = kChannelsLast});
  };
  return {.pass = pass,
          .conv = conv,
          .x = operand(operands.x, Conv2dPass::kBackwardInput),
          .weight = operand(operands.weight, Conv2dPass::kBackwardWeight),
          .y = operand(operands.grad, Conv2dPass::kForward),
          .bias = pass == Conv2dPass::kForward ? ops::cast(operands.bias, dtype) : Tensor()};
}

/// Returns the result of the plainest candidate in f64, which conv_test.cpp compares with the definition.
Tensor expected(Conv2dPass pass, const ConvCase& test, const Operands& operands) {
  const Conv2dCall call = make_call(pass, test, operands, kFloat64);
  run_candidate(ops::conv2d_cpu_algorithms(call).front(), call);
  return call.result();
}

int64_t reduction_length(const Conv2dCall& call) {
  if (call.pass == Conv2dPass::kBackwardWeight) return call.conv.n * call.conv.p * call.conv.q;
  return call.conv.taps() * (call.pass == Conv2dPass::kForward ? call.conv.c : call.conv.k);
}

struct Errors {
  double root_mean_square = 0, largest = 0;
};

Errors errors(const Tensor& actual, const Tensor& truth) {
  const auto x = ops::to_vector<double>(actual), y = ops::to_vector<double>(truth);
  Errors result;
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    sum += (x[i] - y[i]) * (x[i] - y[i]);
    result.largest = std::max(result.largest, std::abs(x[i] - y[i]));
  }
  result.root_mean_square = std::sqrt(sum / double(x.size()));
  return result;
}

const Conv2dPass kPasses[] = {Conv2dPass::kForward, Conv2dPass::kBackwardInput, Conv2dPass::kBackwardWeight};

/// Returns how many times larger than the errors of direct sums a candidate's errors may be.
double allowance(const std::string& candidate) {
  if (candidate == "winograd 2x2") return kWinograd2x2Errors;
  if (candidate == "winograd 4x4") return kWinograd4x4Errors;
  return 1;
}

}  // namespace

TEST_CASE("each candidate of a convolution computes it") {
  const PoisonedMemory poisoned;
  std::map<std::string, int> runs;
  const auto check = [&](const ConvCase& test, const Conv2dCall& call, const Tensor& truth) {
    const DType dtype = call.result().dtype();
    for (const auto& candidate : ops::conv2d_cpu_algorithms(call)) {
      if (!candidate.supported) continue;
      INFO(test.name << ", " << call.problem().str() << ", " << candidate.name);
      ops::copy_(call.result(), ops::full(call.result().shape(), std::nan("")));
      run_candidate(candidate, call);
      check_close(call.result(), truth, allowance(candidate.name) * tolerance(dtype, reduction_length(call)));
      ++runs[candidate.name];
    }
  };
  for (const DType dtype : kDTypes) {
    for (const ConvCase& test : kCases) {
      const Operands operands = random_operands(test, 0, dtype);
      for (const Conv2dPass pass : kPasses) {
        const Tensor truth = expected(pass, test, operands);
        check(test, make_call(pass, test, operands, dtype), truth);
        if (pass == Conv2dPass::kBackwardWeight && is_half(dtype))  // the gradient of a weight kept in f32
          check(test, make_call(pass, test, operands, dtype, kFloat32), truth);
      }
    }
  }
  CHECK(runs["gemm"] == int(11 * kCases.size()));
  CHECK(runs["depthwise"] >= 22);
  CHECK(runs["winograd 2x2"] >= 66);
  CHECK(runs["winograd 4x4"] >= 66);
}

TEST_CASE("each candidate adds bias and residual and clamps at 0 as separate steps would") {
  const PoisonedMemory poisoned;
  const DType dtype = GENERATE(from_range(std::begin(kDTypes), std::end(kDTypes)));
  for (const ConvCase& test : kCases) {
    const Operands operands = random_operands(test, 0, dtype);
    const Conv2dCall plain = make_call(Conv2dPass::kForward, test, operands, kFloat64);
    run_candidate(ops::conv2d_cpu_algorithms(plain).front(), plain);
    for (const bool with_residual : {false, true}) {
      for (const bool relu : {false, true}) {
        Conv2dCall call = make_call(Conv2dPass::kForward, test, operands, dtype);
        if (with_residual) call.residual = ops::cast(operands.grad, dtype);
        call.relu = relu;
        const ops::ConstantWeight constant(call.weight);
        if (with_residual) call.constant = &constant;
        Tensor truth = plain.y;
        if (with_residual) truth = ops::add(truth, ops::cast(operands.grad, kFloat64));
        if (relu) truth = ops::relu(truth);
        for (const auto& candidate : ops::conv2d_cpu_algorithms(call)) {
          if (!candidate.supported) continue;
          INFO(test.name << ", " << name(dtype) << ", " << candidate.name
                         << (with_residual ? ", residual" : "") << (relu ? ", relu" : ""));
          for (int run = 0; run < (call.constant ? 2 : 1); ++run) {  // the second with the kept weight
            ops::copy_(call.result(), ops::full(call.result().shape(), std::nan("")));
            run_candidate(candidate, call);
            check_close(call.result(), truth,
                        allowance(candidate.name) * tolerance(dtype, reduction_length(call)));
          }
        }
      }
    }
  }
}

TEST_CASE("Winograd convolution is exact but for rounding") {
  const ConvCase test = {"3x3", {2, 32, 11, 9}, 16, 3, {.padding = 1}};
  const Operands operands = random_operands(test);
  for (const Conv2dPass pass : kPasses) {
    const Tensor truth = expected(pass, test, operands);
    const Conv2dCall call = make_call(pass, test, operands, kFloat64);
    for (const auto& algorithm : ops::winograd_f64_algorithms(call)) {
      REQUIRE(algorithm.supported);
      algorithm.run(call, nullptr);
      check_close(call.result(), truth, 30 * tolerance(kFloat64, reduction_length(call)));
    }
  }
}

TEST_CASE("Winograd's rounding errors stay within 4 and 15 times those of direct sums") {
  struct Size {
    int64_t images, channels, pixels;
    uint64_t seeds;
  };
  for (const Size size : {Size{2, 64, 14, 3}, Size{2, 128, 14, 2}, Size{1, 256, 14, 1}, Size{1, 512, 7, 1}}) {
    const ConvCase test = {
        "3x3", {size.images, size.channels, size.pixels, size.pixels}, size.channels, 3, {.padding = 1}};
    for (uint64_t seed = 0; seed < size.seeds; ++seed) {
      const Operands operands = random_operands(test, 10 * seed);
      for (const Conv2dPass pass : kPasses) {
        const Tensor truth = expected(pass, test, operands);
        const Conv2dCall call = make_call(pass, test, operands);
        Errors direct;
        for (const auto& candidate : ops::conv2d_cpu_algorithms(call)) {
          if (!candidate.supported) continue;
          run_candidate(candidate, call);
          const Errors found = errors(call.result(), truth);
          if (candidate.name == "gemm") direct = found;
          REQUIRE(direct.root_mean_square > 0);
          const double typical = found.root_mean_square / direct.root_mean_square;
          const double largest = found.largest / direct.largest;
          INFO(size.channels << " channels, seed " << seed << ", pass " << int(pass) << ", " << candidate.name
                             << ": " << typical << " times direct, at most " << largest);
          CHECK(typical <= allowance(candidate.name));
          CHECK(largest <= allowance(candidate.name));
        }
      }
    }
  }
}

TEST_CASE("each candidate gives the same bits for any number of threads") {
  const DType dtype = GENERATE(from_range(std::begin(kDTypes), std::end(kDTypes)));
  for (const ConvCase& test : {ConvCase{"3x3", {9, 32, 14, 13}, 48, 3, {.padding = 1}},
                               ConvCase{"depthwise", {9, 32, 14, 13}, 32, 3, {.padding = 1, .groups = 32}}}) {
    const Operands operands = random_operands(test, 0, dtype);
    for (const Conv2dPass pass : kPasses) {
      const Conv2dCall call = make_call(pass, test, operands, dtype);
      for (const auto& candidate : ops::conv2d_cpu_algorithms(call)) {
        if (!candidate.supported) continue;
        INFO(test.name << ", " << name(dtype) << ", pass " << int(pass) << ", " << candidate.name);
        std::vector<float> first;
        for (const int count : {1, 2, 5}) {
          const ThreadsGuard threads(count);
          run_candidate(candidate, call);
          const auto result = ops::to_vector<float>(call.result());
          if (first.empty()) first = result;
          CHECK(result == first);
        }
      }
    }
  }
}

TEST_CASE("a CPU's instructions for bf16 are offered where it has them") {
  const ConvCase test = {"3x3", {2, 16, 12, 12}, 32, 3, {.padding = 1}};
  for (const DType dtype : kDTypes) {
    const Conv2dCall call = make_call(Conv2dPass::kForward, test, random_operands(test), dtype);
    for (const auto& candidate : ops::conv2d_cpu_algorithms(call)) {
      if (candidate.name != "amx" && candidate.name != "avx512-bf16") continue;
      const CpuLevel needed = candidate.name == "amx" ? CpuLevel::kAmx : CpuLevel::kAvx512Bf16;
      CHECK(candidate.supported == (dtype == kBFloat16 && cpu_level() >= needed));
    }
  }
}

TEST_CASE("the heuristic knows where Winograd pays") {
  const auto cheapest = [](const ConvCase& test) {
    const Conv2dCall call = make_call(Conv2dPass::kForward, test, random_operands(test));
    std::string name;
    double cost = 0;
    for (const auto& candidate : ops::conv2d_cpu_algorithms(call)) {
      if (!candidate.supported || (!name.empty() && candidate.rank >= cost)) continue;
      name = candidate.name;
      cost = candidate.rank;
    }
    return name;
  };
  CHECK(cheapest({"", {2, 64, 56, 56}, 64, 3, {.padding = 1}}) == "winograd 4x4");
  CHECK(cheapest({"", {1, 512, 2, 2}, 512, 3, {.padding = 1}}) == "gemm");
  CHECK(cheapest({"", {2, 64, 8, 8}, 64, 1, {}}) == "gemm");
  CHECK(cheapest({"", {2, 64, 8, 8}, 64, 3, {.padding = 1, .groups = 64}}) == "depthwise");
}
