// Convolutions that also give the mean and variance of their result's channels: each candidate by itself, and
// batch norms that use these moments.

#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "taper/autograd/derivatives/conv.h"
#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/norm.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/gradcheck.h"
#include "taper/autograd/tape/engine.h"
#include "taper/core/views.h"
#include "taper/nn/layers/conv_batch_norm.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/conv/conv2d_call.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/moments/channel_statistics_gpu.h"
#include "tests/support/candidate_outputs.h"
#include "tests/support/conv_case.h"
#include "tests/support/few_engines.h"
#include "tests/support/moments.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

using namespace taper;
using ops::Conv2dCall;

namespace {

const std::vector<ConvCase> kCases = {
    {"3x3", {2, 16, 12, 11}, 32, 3, {.padding = 1}},
    {"3x3, odd channels", {3, 5, 7, 9}, 7, 3, {.padding = 1}},
    {"3x3, several panels and column blocks", {2, 32, 15, 14}, 80, 3, {.padding = 1}},
    {"3x3 stride 2", {2, 16, 9, 8}, 24, 3, {.stride = 2, .padding = 1}},
    {"3x3 in groups", {2, 32, 6, 7}, 48, 3, {.padding = 1, .groups = 2}},
    {"3x3, padding 3: pixels that see nothing", {2, 16, 5, 4}, 16, 3, {.padding = 3}},
    {"depthwise", {3, 33, 8, 9}, 33, 3, {.padding = 1, .groups = 33}},
    {"1x1", {2, 70, 7, 6}, 37, 1, {}},
    {"1x1, whole vectors", {3, 64, 9, 9}, 64, 1, {}},
    {"1x1 stride 2", {2, 64, 7, 6}, 33, 1, {.stride = 2}},
    {"1x1 in groups", {2, 16, 9, 9}, 32, 1, {.groups = 2}},
    {"a long sum for few results: split on a GPU", {1, 320, 3, 3}, 16, 3, {.padding = 1}},
    {"one channel", {4, 1, 5, 5}, 1, 3, {}},
    {"two values a channel", {2, 16, 1, 1}, 16, 3, {.padding = 1}},
};

Tensor random_image(const Shape& shape, DType dtype, uint64_t seed, Device device) {
  return ops::contiguous(random_tensor(shape, dtype, seed).to(device), kChannelsLast);
}

/// A call whose result and moments are yet to be computed.
Conv2dCall make_call(const ConvCase& test, DType dtype, Device device, bool moments = true) {
  const auto conv = ops::conv2d_geometry("test", test.input, test.weight(), test.options);
  Conv2dCall call = {
      .pass = ops::Conv2dPass::kForward,
      .conv = conv,
      .x = random_image(test.input, dtype, 1, device),
      .weight = random_image(test.weight(), dtype, 2, device),
      .y = empty(conv.output_shape(), {.dtype = dtype, .device = device, .memory_format = kChannelsLast})};
  const TensorOptions wide = {.dtype = compute_dtype(dtype), .device = device};
  if (moments) call.moments = {empty({conv.k}, wide), empty({conv.k}, wide)};
  return call;
}

std::vector<Algorithm> candidates_of(const Conv2dCall& call) {
  return call.y.device().is_cuda() ? ops::conv2d_gpu_algorithms(call) : ops::conv2d_cpu_algorithms(call);
}

std::vector<DType> dtypes_on(Device device) {
  if (device.is_cpu()) return {kFloat32, kFloat64};
  return {kFloat32, kFloat64, kFloat16, kBFloat16};
}

/// Returns an image and a weight whose result is `mean` in every channel, with noise of about 1.
std::pair<Tensor, Tensor> far_from_zero(double mean, const Shape& input, const Shape& weight) {
  auto pixels = ops::to_vector<double>(random_tensor(input, kFloat64, 5));
  auto filters = ops::to_vector<double>(random_tensor(weight, kFloat64, 6));
  const auto plane = size_t(input[2] * input[3]), taps = size_t(weight[2] * weight[3]);
  for (size_t i = 0; i < pixels.size(); ++i) {
    if (i / plane % size_t(input[1]) == 0) pixels[i] = 1;
  }
  for (size_t i = 0; i < filters.size(); ++i) {
    if (i / taps % size_t(weight[1]) == 0) filters[i] = mean / double(taps);
  }
  return {from_vector(pixels, input), from_vector(filters, weight)};
}

}  // namespace

TEST_CASE("each candidate's moments are those of its result, which they do not change") {
  const PoisonedMemory poisoned;
  const Device device = GENERATE(from_range(test_devices()));
  std::map<std::string, int> count;
  const FewEngines few;
  CandidateRuns runs;
  for (const DType dtype : dtypes_on(device)) {
    for (const ConvCase& test : kCases) {
      Conv2dCall call = make_call(test, dtype, device);
      const Conv2dCall plain = make_call(test, dtype, device, false);
      std::map<std::string, std::vector<double>> results;
      const std::string own = candidates_of(plain).front().name;
      for (const auto& candidate : candidates_of(plain)) {
        if (runs.run(candidate, plain)) results[candidate.name] = ops::to_vector<double>(plain.y);
      }
      for (const auto& candidate : candidates_of(call)) {
        INFO(test.name << ", " << candidate.name << ", " << name(dtype) << " on " << device.str());
        for (Tensor* output : call.outputs()) *output = ops::full_like(*output, std::nan(""));
        if (!runs.run(candidate, call)) continue;
        check_moments(call.moments, call.y, gathered_by(candidate.name));
        const auto values = ops::to_vector<double>(call.y);
        const auto same = results.find(candidate.name);
        if (same != results.end() && candidate.deterministic) {
          CHECK(values == same->second);
        } else {  // a plain product, computed as any convolution; or one whose bits may differ
          const double errors = is_vendors(candidate.name) ? library_errors(dtype) : 1;
          check_close(values, results.at(own), 2 * errors * tolerance(dtype, numel(test.weight())));
        }
        ++count[candidate.name];
      }
    }
  }
  const int cases = int(dtypes_on(device).size() * kCases.size());
  CHECK(count[device.is_cpu() ? "gemm" : "implicit gemm"] == cases);
  CHECK(count["depthwise"] > 0);
  if (device.is_cpu()) CHECK(count["winograd 4x4"] >= 4);
}

TEST_CASE("a convolution's variances do not cancel where its means are large") {
  const Device device = GENERATE(from_range(test_devices()));
  const FewEngines few;
  CandidateRuns runs;
  for (const ConvCase& test :
       {ConvCase{"1x1", {2, 16, 20, 20}, 32, 1, {}}, ConvCase{"3x3", {2, 16, 14, 14}, 16, 3, {}}}) {
    const auto [x, weight] = far_from_zero(1e3, test.input, test.weight());
    Conv2dCall call = make_call(test, kFloat32, device);
    call.x = ops::contiguous(ops::cast(x, kFloat32).to(device), kChannelsLast);
    call.weight = ops::contiguous(ops::cast(weight, kFloat32).to(device), kChannelsLast);
    for (const auto& candidate : candidates_of(call)) {
      INFO(test.name << ", " << candidate.name << " on " << device.str());
      if (!runs.run(candidate, call)) continue;
      const Moments expected = moments_of(call.y);
      const auto mean = ops::to_vector<double>(call.moments.mean);
      const auto var = ops::to_vector<double>(call.moments.var);
      for (size_t c = 0; c < mean.size(); ++c) {
        CHECK(mean[c] == Approx(expected.mean[c]).epsilon(1e-6));
        CHECK(var[c] == Approx(expected.var[c]).epsilon(1e-5));
        CHECK(expected.var[c] < 100);
      }
    }
  }
}

TEST_CASE("a convolution's moments are the same bits for any number of threads") {
  for (const ConvCase& test :
       {ConvCase{"3x3", {9, 32, 14, 13}, 48, 3, {.padding = 1}}, ConvCase{"1x1", {9, 32, 14, 13}, 300, 1, {}},
        ConvCase{"depthwise", {9, 32, 14, 13}, 32, 3, {.padding = 1, .groups = 32}}}) {
    const Conv2dCall call = make_call(test, kFloat32, Device("cpu"));
    for (const auto& candidate : ops::conv2d_cpu_algorithms(call)) {
      if (!candidate.supported) continue;
      INFO(test.name << ", " << candidate.name);
      std::vector<std::vector<float>> first;
      for (const int count : {1, 2, 5}) {
        const ThreadsGuard threads(count);
        run_candidate(candidate, call);
        const std::vector<std::vector<float>> result = {ops::to_vector<float>(call.moments.mean),
                                                        ops::to_vector<float>(call.moments.var)};
        if (first.empty()) first = result;
        CHECK(result == first);
      }
    }
  }
}

TEST_CASE("measuring the ways to compute moments, none is taken for wrong") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat32, kFloat16, kBFloat16);
  const FewEngines few;  // all of them would be compiled
  algorithm_cache().set_file("");
  algorithm_cache().clear();
  algorithm_cache().set_verify(true);
  algorithm_cache().set_mode(AlgorithmMode::kBenchmark);
  const Tensor x = random_image({2, 16, 6, 6}, dtype, 1, device);
  ops::conv2d_moments(x, random_image({16, 16, 3, 3}, dtype, 2, device), {.padding = 1});
  ops::conv2d_moments(x, random_image({24, 16, 1, 1}, dtype, 3, device));
  const auto decisions = algorithm_cache().decisions();
  algorithm_cache().set_mode(AlgorithmMode::kHeuristic);
  algorithm_cache().set_verify(false);
  algorithm_cache().clear();
  int measured = 0;
  for (const AlgorithmRecord& record : decisions) {
    for (const AlgorithmTiming& candidate : record.candidates) {
      INFO(candidate.name << ": " << candidate.rejected);
      CHECK_FALSE(candidate.is_wrong);
      ++measured;
    }
  }
  CHECK(measured >= (device.is_cpu() ? 3 : 6));
}

TEST_CASE("conv2d_moments is conv2d and batch_moments") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat32, kFloat64, kFloat16, kBFloat16);
  for (const ConvCase& test : kCases) {
    if (test.input[1] > 64) continue;
    INFO(test.name << ", " << name(dtype) << " on " << device.str());
    const Tensor x = random_tensor(test.input, dtype).to(device),
                 weight = random_tensor(test.weight(), dtype, 2).to(device);
    const auto [y, moments] = ops::conv2d_moments(x, weight, test.options);
    CHECK(y.dtype() == dtype);
    check_moments(moments, y);
    check_close(y, ops::conv2d(x, weight, {}, test.options),
                2 * conv_tolerance(device, dtype, numel(test.weight())));
    const BatchMoments after = ops::batch_moments(y);
    const double allowed = tolerance(compute_dtype(dtype), y.numel());
    check_close(moments.var, after.var, allowed);
    check_close(moments.mean, after.mean, allowed, 1);
  }
}

TEST_CASE("moments of nothing are NaN, and wrong arguments are named") {
  const Device device = GENERATE(from_range(test_devices()));
  const auto zeros = [&](const Shape& shape) { return ops::zeros(shape, {.device = device}); };
  const auto none = ops::conv2d_moments(zeros({0, 3, 5, 5}), zeros({4, 3, 3, 3}));
  CHECK(none.y.shape() == Shape{0, 4, 3, 3});
  for (const double mean : ops::to_vector<double>(none.moments.mean)) CHECK(std::isnan(mean));
  const auto no_filters = ops::conv2d_moments(zeros({2, 3, 5, 5}), zeros({0, 3, 3, 3}));
  CHECK(no_filters.moments.var.shape() == Shape{0});
  const auto no_channels = ops::conv2d_moments(zeros({2, 0, 5, 5}), zeros({4, 0, 3, 3}));
  CHECK(ops::to_vector<double>(no_channels.moments.mean) == std::vector<double>(4, 0));
  CHECK(ops::to_vector<double>(no_channels.moments.var) == std::vector<double>(4, 0));

  CHECK_THROWS_WITH(ops::conv2d_moments(zeros({1, 3, 5, 5}), zeros({4, 2, 3, 3})),
                    Catch::Contains("conv2d: weight has 2 input channels but input"));
  CHECK_THROWS_WITH(ops::batch_moments(zeros({2, 3, 4})), Catch::Contains("[N, C] or [N, C, H, W]"));
  const Tensor x = zeros({2, 3, 5, 5}), three = zeros({3});
  const auto norm_with = [&](const BatchMoments& moments) {
    return ops::batch_norm_training(x, {}, {}, {}, {}, {}, {}, false, moments);
  };
  CHECK_THROWS_WITH(norm_with({three, {}}), Catch::Contains("mean and var must be given together"));
  CHECK_THROWS_WITH(norm_with({three, zeros({4})}),
                    Catch::Contains("must be contiguous f32 [3], got f32 [4]"));
  CHECK_THROWS_WITH(norm_with({ops::cast(three, kFloat64), three}), Catch::Contains("got f64 [3]"));
}

TEST_CASE("batch norm with given moments is batch norm") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat32, kFloat64, kBFloat16);
  const DType wide = compute_dtype(dtype);
  const Tensor x = random_image({4, 24, 7, 5}, dtype, 1, device);
  const auto random = [&](uint64_t seed) { return random_tensor({24}, wide, seed).to(device); };
  const Tensor weight = random(2), bias = random(3);
  const auto normalize = [&](const BatchMoments& moments) {
    const Tensor running_mean = random(4), running_var = random(5);
    const auto out = ops::batch_norm_training(x, weight, bias, running_mean, running_var, {.relu = true}, {},
                                              true, moments);
    return std::vector<Tensor>{out.y, out.save_mean, out.save_invstd, running_mean, running_var};
  };
  const auto given = normalize(ops::batch_moments(x)), own = normalize({});
  for (size_t i = 0; i < own.size(); ++i) check_close(given[i], own[i], 4 * tolerance(own[i].dtype()));
}

TEST_CASE("the GPU merges any number of chunks") {
  if (gpu::device_count() == 0) return;
  const int64_t chunks = GENERATE(1, 3, 512, 513, 1500);
  const int64_t rows_per_chunk = 2, channels = 35, rows = 2 * chunks - 1;  // the last chunk has one row
  const Tensor values = random_tensor({rows, channels}, kFloat64, 7);
  const auto x = ops::to_vector<double>(values);
  std::vector<double> partial(size_t(2 * chunks * channels));
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    for (int64_t c = 0; c < channels; ++c) {
      const double a = x[size_t(2 * chunk * channels + c)];
      const double b = 2 * chunk + 1 < rows ? x[size_t((2 * chunk + 1) * channels + c)] : a;
      partial[size_t(2 * chunk * channels + c)] = (a + b) / 2;
      partial[size_t((2 * chunk + 1) * channels + c)] = (a - b) * (a - b) / 2;
    }
  }
  const Device device("cuda");
  const gpu::DeviceGuard guard(device.index);
  const TensorOptions wide = {.dtype = kFloat64, .device = device};
  const BatchMoments moments = {empty({channels}, wide), empty({channels}, wide)};
  ops::finish_statistics_gpu(
      ops::PartialMoments{from_vector(partial, {chunks, 2, channels}).to(device), rows_per_chunk}, rows,
      {.mean = moments.mean, .var = moments.var});
  check_moments(moments, views::view(values, {rows, channels, 1, 1}));
}

TEST_CASE("derivatives of a batch norm that was given moments agree with finite differences") {
  const auto normalize = [](const std::vector<Tensor>& at) {
    const auto [y, moments] = conv2d_moments(at[0], at[1], {.padding = 1});
    return batch_norm(y, at[2], {}, {}, {}, true, {.eps = 1e-2, .relu = true}, {}, moments);
  };
  const std::vector<Tensor> inputs = {leaf({2, 2, 3, 3}), leaf({3, 2, 3, 3}, 2), leaf({3}, 3)};
  CHECK(gradcheck(normalize, inputs));
  CHECK(gradgradcheck(normalize, inputs));
}

TEST_CASE("a convolution and its batch norm, called as a pair, are the two modules") {
  const Device device = GENERATE(from_range(test_devices()));
  const Bias bias = GENERATE(kNoBias, kBias);
  Conv2d conv(16, 24, 3, {.padding = 1}, bias);
  BatchNorm2d norm(24);
  conv.to(device);
  norm.to(device);
  const Tensor x = random_image({3, 16, 6, 5}, kFloat32, 1, device);
  const auto train = [&](bool pair) {
    ops::copy_(norm.running_mean, ops::zeros({24}));
    ops::copy_(norm.running_var, ops::ones({24}));
    for (const Tensor& parameter : {conv.weight, norm.weight, norm.bias}) parameter.set_grad({});
    const Tensor y = pair ? conv_batch_norm(conv, norm, x, {.relu = true}) : norm(conv(x), {.relu = true});
    sum(y * y).backward();
    return std::vector<Tensor>{y.detach(),
                               ops::clone(norm.running_mean),
                               ops::clone(norm.running_var),
                               conv.weight.grad(),
                               norm.weight.grad(),
                               norm.bias.grad()};
  };
  const auto pair = train(true), modules = train(false);
  for (size_t i = 0; i < pair.size(); ++i) check_close(pair[i], modules[i], tolerance(kFloat32, 3 * 24 * 30));
  CHECK(norm.num_batches_tracked.item() == 2);

  int calls = 0;
  const HookHandle hook =
      conv.register_forward_hook([&](Module&, const Tensor&, const Tensor& y) { return ++calls, y * 2.0; });
  conv_batch_norm(conv, norm, x);
  CHECK(calls == 1);
}
