// Every way to compute poolings as ResNet-50 has them on the GPU, own kernels and the vendors', against the
// own kernel on the same numbers in f32. On hardware alone: the simulated GPU has no vendors' libraries.

#include <catch2/catch.hpp>
#include <cmath>

#include "taper/core/algorithm_cache.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/pool/pool_call.h"
#include "taper/ops/random/random.h"
#include "tests/test_tensors.h"
#include "tests/tolerance.h"

using namespace taper;

namespace {

Tensor random_images(const Shape& shape, DType dtype) {
  return ops::contiguous(ops::cast(ops::randn(shape, {.device = kCUDA}), dtype), kChannelsLast);
}

/// What a candidate leaves in the call's output.
template <class Call>
Tensor output_of(Call call, const Candidate<Call>& candidate) {
  Tensor& output = *call.outputs()[0];
  output = ops::clone(output);
  ops::fill_(output, NAN);  // what the candidate forgets to write
  const Storage workspace(candidate.workspace_bytes, kCUDA);
  candidate.run(call, workspace.data());
  return output;
}

template <class Call, class List>
void check_candidates(const Call& call, const Call& exact, const List& list, DType dtype) {
  const Tensor expected = output_of(exact, list(exact).front());
  for (const Candidate<Call>& candidate : list(call)) {
    INFO(candidate.name << ", " << name(dtype));
    try {
      check_close(output_of(call, candidate), expected, tolerance(dtype, 49));
    } catch (const AlgorithmFailed& error) {
      WARN(error.what());  // as the cache does: another takes over
    }
  }
}

void check_averages(const Tensor& from, const Tensor& to, const ops::AveragePoolAxes& axes, bool backward) {
  check_candidates(ops::AveragePoolCall{backward, from, axes, to},
                   ops::AveragePoolCall{backward, ops::cast(from, kFloat32), axes, ops::cast(to, kFloat32)},
                   ops::average_pool_candidates, from.dtype());
}

}  // namespace

TEST_CASE("every candidate for ResNet-50's poolings agrees with the own kernel in f32") {
  if (gpu::device_count() == 0 || gpu::is_simulated()) {
    WARN("for hardware alone");
    return;
  }
  algorithm_cache().set_mode(AlgorithmMode::kBenchmark);  // in which the library is asked
  const DType dtype = GENERATE(kBFloat16, kFloat16, kFloat32);
  const Tensor stem = random_images({8, 64, 112, 112}, dtype), pooled = random_images({8, 64, 56, 56}, dtype),
               last = random_images({8, 2048, 7, 7}, dtype), means = random_images({8, 2048, 1, 1}, dtype);
  const ops::MaxPoolAxis largest = {.input = 112, .output = 56, .kernel = 3, .stride = 2, .padding = 1};
  const ops::MaxPoolCall maxima = {stem, {largest, largest}, pooled};
  const ops::MaxPoolCall exact = {ops::cast(stem, kFloat32), maxima.axes, ops::cast(pooled, kFloat32)};
  check_candidates(maxima, exact, ops::max_pool_candidates, dtype);
  const ops::AveragePoolAxis global = {.input = 7, .output = 1, .kernel = 7, .stride = 7};
  check_averages(last, means, {global, global}, false);
  check_averages(means, last, {global, global}, true);
  for (const bool include_pad : {false, true}) {
    const ops::AveragePoolAxis overlapping = {
        .input = 112, .output = 56, .kernel = 3, .stride = 2, .padding = 1, .count_include_pad = include_pad};
    check_averages(stem, pooled, {overlapping, overlapping}, false);
    check_averages(pooled, stem, {overlapping, overlapping}, true);
  }
  algorithm_cache().set_mode(AlgorithmMode::kHeuristic);
}
