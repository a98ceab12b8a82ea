// Every candidate for each of ResNet-50's convolutions on the GPU, own kernels and the vendors', against
// exact sums. Only on hardware: these are too large for the simulated GPU, which has no vendors' libraries.

#include <catch2/catch.hpp>
#include <cmath>

#include <random>

#include "taper/core/gpu/runtime.h"
#include "taper/ops/conv/conv2d_call.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/random/random.h"
#include "taper/ops/reduce/reduce.h"
#include "tests/support/candidate_outputs.h"
#include "tests/support/few_engines.h"
#include "tests/support/resnet50_problems.h"
#include "tests/support/skip.h"
#include "tests/support/time_limit.h"

using namespace taper;
using ops::Conv2dCall;
using ops::Conv2dPass;

namespace {

constexpr int64_t kBatch = 8, kImageSize = 224;

struct Precision {
  const char* name;
  DType dtype;
  bool allow_tf32;
  double tolerance;  ///< of the root mean square of the errors, relative to that of the results
};

const std::vector<Precision> kPrecisions = {{"bf16", kBFloat16, true, 0x1p-6},
                                            {"f16", kFloat16, true, 0x1p-8},
                                            {"TF32", kFloat32, true, 0x1p-8},
                                            {"f32", kFloat32, false, 0x1p-15}};

Tensor random_operand(const Shape& shape, DType dtype) {
  return ops::contiguous(ops::cast(ops::randn(shape, {.device = kCUDA}), dtype),
                         shape.size() == 4 ? kChannelsLast : kContiguous);
}

struct ConvProblem {
  RankedLayer ranked;
  Precision precision;
  Conv2dPass pass;
  bool fused;
};

/// Returns one size of each kind of layer first, in all precisions and passes. The order is mixed, so that a
/// time limit does not cut off all problems of one kind.
std::vector<ConvProblem> problems() {
  std::vector<ConvProblem> problems;
  for (const RankedLayer& ranked : smallest_first()) {
    for (const Precision& precision : kPrecisions) {
      for (const Conv2dPass pass :
           {Conv2dPass::kForward, Conv2dPass::kBackwardInput, Conv2dPass::kBackwardWeight})
        problems.push_back({ranked, precision, pass, false});
      problems.push_back({ranked, precision, Conv2dPass::kForward, true});
    }
  }
  std::shuffle(problems.begin(), problems.end(), std::mt19937(1));
  std::stable_sort(problems.begin(), problems.end(), [](const ConvProblem& a, const ConvProblem& b) {
    return a.ranked.round < b.ranked.round;
  });
  return problems;
}

Conv2dCall random_call(const ConvProblem& problem) {
  const auto& [ranked, precision, pass, fused] = problem;
  const ResnetLayer& layer = ranked.layer;
  const int64_t size = layer.input_size(kImageSize);
  const Shape weight = {layer.out, layer.in, layer.kernel, layer.kernel};
  const auto conv = ops::conv2d_geometry("conv2d", {kBatch, layer.in, size, size}, weight,
                                         {.stride = layer.stride, .padding = layer.padding()});
  const auto random = [dtype = precision.dtype](const Shape& shape) { return random_operand(shape, dtype); };
  return {.pass = pass,
          .conv = conv,
          .x = random(conv.input_shape()),
          .weight = random(conv.weight_shape()),
          .y = random(conv.output_shape()),
          .bias = fused ? random({conv.k}) : Tensor(),
          .residual = fused ? random(conv.output_shape()) : Tensor(),
          .relu = fused,
          .allow_tf32 = precision.allow_tf32};
}

/// Returns the result for these operands in f32, computed by Taper's plainest kernel.
Tensor exact_result(Conv2dCall call) {
  for (Tensor* operand : {&call.x, &call.weight, &call.y, &call.bias, &call.residual})
    if (operand->defined()) *operand = ops::cast(*operand, kFloat32);
  run_candidate(ops::conv2d_gpu_algorithms(call).front(), call);
  return call.result();
}

double root_mean_square(const Tensor& x) {
  return std::sqrt(double(ops::mean(ops::square(x)).to(Device("cpu")).item<float>()));
}

double error_of(const Tensor& actual, const Tensor& exact) {
  return root_mean_square(ops::sub(ops::cast(actual, kFloat32), exact)) / root_mean_square(exact);
}

void check_candidates(const Conv2dCall& call, double tolerance, CandidateRuns& runs, TimeLimit& limit) {
  const Tensor exact = exact_result(call);
  for (const Algorithm& candidate : ops::conv2d_gpu_algorithms(call)) {
    INFO(candidate.name);
    ops::fill_(call.result(), NAN);  // what the candidate forgets to write
    if (!runs.run(candidate, call)) continue;
    CHECK(error_of(call.result(), exact) < tolerance);
    limit.checked();
  }
}

}  // namespace

TEST_CASE("every candidate for ResNet-50's convolutions agrees with exact sums") {
  if (gpu::device_count() == 0 || gpu::is_simulated()) return skip("for hardware alone");
  FewEngines few;
  CandidateRuns runs;
  TimeLimit limit;
  for (const ConvProblem& problem : problems()) {
    if (!limit.takes_one_more()) continue;
    INFO(problem.ranked.layer.name << ", " << problem.precision.name << ", pass " << int(problem.pass)
                                   << (problem.fused ? ", fused" : ""));
    check_candidates(random_call(problem), problem.precision.tolerance, runs, limit);
    limit.left_out(few.take_left_out());
  }
  limit.report();
}
