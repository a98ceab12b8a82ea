// Every way to compute poolings as ResNet-50 has them on the GPU, own kernels and the vendors', against the
// own kernel on the same numbers in f32. On hardware alone: the simulated GPU has no vendors' libraries.

#include <catch2/catch.hpp>
#include <cmath>

#include "taper/core/gpu/runtime.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/pool/pool_call.h"
#include "taper/ops/random/random.h"
#include "tests/algorithm_mode.h"
#include "tests/candidate_outputs.h"
#include "tests/few_engines.h"
#include "tests/test_tensors.h"
#include "tests/time_limit.h"
#include "tests/tolerance.h"

using namespace taper;

namespace {

Tensor random_images(const Shape& shape, DType dtype) {
  return ops::contiguous(ops::cast(ops::randn(shape, {.device = kCUDA}), dtype), kChannelsLast);
}

/// What the test has looked at, of the first engines.
struct Seen {
  FewEngines few;
  CandidateRuns runs;
  TimeLimit limit;
};

/// `exact`: the call in f32. Outputs begin as NaN: what a candidate forgets to write.
template <class Call, class List>
void check_candidates(Call call, Call exact, const List& list, Seen& seen) {
  if (!seen.limit.takes_one_more()) return;
  for (Call* any : {&call, &exact}) ops::fill_(*any->outputs()[0], NAN);
  const DType dtype = call.outputs()[0]->dtype();
  const Tensor expected = outputs_of(exact, list(exact).front()).at(0);
  for (const Candidate<Call>& candidate : list(call)) {
    INFO(candidate.name << ", " << name(dtype));
    const std::vector<Tensor> actual = seen.runs.outputs(candidate, call);
    if (actual.empty()) continue;
    check_close(actual[0], expected, tolerance(dtype, 49));
    seen.limit.checked();
  }
  seen.limit.left_out(seen.few.take_left_out());
}

/// From one tensor to another of a shape, forward or backward.
void check_averages(const Tensor& from, const Shape& to, const ops::AveragePoolAxes& axes, bool backward,
                    Seen& seen) {
  const Tensor result = random_images(to, from.dtype());
  check_candidates(
      ops::AveragePoolCall{backward, from, axes, result},
      ops::AveragePoolCall{backward, ops::cast(from, kFloat32), axes, ops::cast(result, kFloat32)},
      ops::average_pool_candidates, seen);
}

void check_poolings(DType dtype, Seen& seen) {
  const Tensor stem = random_images({8, 64, 112, 112}, dtype), pooled = random_images({8, 64, 56, 56}, dtype),
               last = random_images({8, 2048, 7, 7}, dtype), means = random_images({8, 2048, 1, 1}, dtype);
  const ops::AveragePoolAxis global = {.input = 7, .output = 1, .kernel = 7, .stride = 7};
  check_averages(last, means.shape(), {global, global}, false, seen);
  check_averages(means, last.shape(), {global, global}, true, seen);
  const ops::MaxPoolAxis largest = {.input = 112, .output = 56, .kernel = 3, .stride = 2, .padding = 1};
  const ops::MaxPoolCall maxima = {stem, {largest, largest}, random_images(pooled.shape(), dtype)};
  const ops::MaxPoolCall exact = {ops::cast(stem, kFloat32), maxima.axes, ops::cast(maxima.y, kFloat32)};
  check_candidates(maxima, exact, ops::max_pool_candidates, seen);
  for (const bool include_pad : {false, true}) {
    const ops::AveragePoolAxis overlapping = {
        .input = 112, .output = 56, .kernel = 3, .stride = 2, .padding = 1, .count_include_pad = include_pad};
    check_averages(stem, pooled.shape(), {overlapping, overlapping}, false, seen);
    check_averages(pooled, stem.shape(), {overlapping, overlapping}, true, seen);
  }
}

}  // namespace

TEST_CASE("every candidate for ResNet-50's poolings agrees with the own kernel in f32") {
  if (gpu::device_count() == 0 || gpu::is_simulated()) {
    WARN("for hardware alone");
    return;
  }
  const AlgorithmModeGuard mode(AlgorithmMode::kBenchmark);  // in which the library is asked
  Seen seen;
  for (const DType dtype : {kBFloat16, kFloat16, kFloat32}) check_poolings(dtype, seen);
  seen.limit.report();
}
